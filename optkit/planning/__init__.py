"""What tells before a run what it will do, what it will take, and whether it can work."""
