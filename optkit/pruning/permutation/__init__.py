"""Permutations that keep what a model computes and put weights of like importance into one block, before pruning."""
