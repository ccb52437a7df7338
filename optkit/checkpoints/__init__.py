"""File formats of checkpoints, read without building a model."""
