"""A sparsity for each layer: what layers lose, what they cost, and the choice."""
