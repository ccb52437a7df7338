"""When two lists of class names mean the same classes, and in which order."""

from __future__ import annotations

import re
from collections.abc import Sequence


def placeholders(labels: Sequence[str]) -> bool:
    """Whether the names are LABEL_0, LABEL_1 ..., which only number the classes."""
    return all(re.fullmatch(r"LABEL_\d+", label) for label in labels)


def match(ours: Sequence[str], theirs: Sequence[str]) -> list[int] | None:
    """Their index for each of our labels; None if the classes are others.

    Names match whatever their case. Where one side only numbers its classes, the number is all there is to go by.
    """
    if len(ours) != len(theirs):
        return None
    index = {label.casefold(): i for i, label in enumerate(theirs)}
    if len(index) == len(theirs) and set(index) == {label.casefold() for label in ours}:
        return [index[label.casefold()] for label in ours]
    return list(range(len(ours))) if placeholders(ours) or placeholders(theirs) else None


def adopt(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Their names for our classes where ours only number them, else ours."""
    return list(theirs) if placeholders(ours) and len(ours) == len(theirs) else list(ours)
