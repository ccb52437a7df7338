"""Sparsity for each layer by its latency: times of layers, the choice, and trials of whole models before training."""
