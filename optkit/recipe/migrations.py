"""Older recipe formats, brought up to date: one function a step, from the number it reads to the next.

A step changes the tree in place, so that every value keeps the position it was written at.
"""

from __future__ import annotations

from collections.abc import Callable

from optkit.recipe.tree import Node

STEPS: dict[int, Callable[[Node], None]] = {}
"""Format number to the step that makes it one newer. Format 1 is the first, so there is none yet."""


def migrate(root: Node, number: int, newest: int) -> None:
    """Applies every step from ``number`` up to ``newest``, and writes the new number."""
    for step in range(number, newest):
        STEPS[step](root)
        root.value["optkit"].node.value = step + 1
