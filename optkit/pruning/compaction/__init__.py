"""What pruning emptied leaves the model: what that is, the cutting, and checkpoints of what remains."""
