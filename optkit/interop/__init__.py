"""Models that somebody else pruned: opened, checked, quantized to int8 and tagged."""
