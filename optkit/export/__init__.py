"""Formats that a pruned checkpoint leaves optkit in; each is one file."""
