"""Loading examples from files, from the Hub, or from a generator."""

from __future__ import annotations

from optkit.data.splits import load_splits, part

__all__ = ["load_splits", "part"]
