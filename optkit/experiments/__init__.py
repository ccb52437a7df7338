"""Many runs side by side: what they report, which of them to take, what they cost, how two differ."""
