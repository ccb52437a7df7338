"""Entities in sequences of tags, and how many of them were found.

An entity is a type, a first and a last word, and counts as found if all three are right. Where it begins and ends is
read as CoNLL's own script reads it (Tjong Kim Sang & De Meulder 2003, https://aclanthology.org/W03-0419), which
seqeval follows by default: B and S begin one; so does I after another type, after O, or at the beginning. So IOB1, IOB2
and IOBES (with M for I, L for E and U for S, too) are read alike, and a prediction that breaks the rules is not lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

OUTSIDE = "O"
_BEGINS, _ENDS = frozenset("BSU"), frozenset("ESLU")
_TAG = re.compile(r"([BIESMLU])-(.+)", re.DOTALL)


def is_tag(name: str) -> bool:
    """Whether ``name`` says where it stands in an entity: ``O``, ``B-PER``, ``I-PER`` ..."""
    return name == OUTSIDE or _TAG.fullmatch(name) is not None


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """The entities of one sequence: type, index of the first word, index of the last.

    Args:
        tags: one for each word; what is no tag is outside of any entity.
    """
    found, begun, kind, ended = set(), 0, None, False
    for i, tag in enumerate([*tags, OUTSIDE]):
        match = _TAG.fullmatch(tag)
        prefix, here = match.groups() if match else (OUTSIDE, None)
        if here == kind and not ended and prefix not in _BEGINS:
            ended = prefix in _ENDS
            continue
        if kind is not None:
            found.add((kind, begun, i - 1))
        begun, kind, ended = i, here, prefix in _ENDS
    return found


def counts(predictions: Iterable[Sequence[str]], references: Iterable[Sequence[str]]) -> tuple[int, int, int]:
    """How many entities were found, how many predicted, and how many there are, over all sequences."""
    right = predicted = given = 0
    for ours, theirs in zip(predictions, references, strict=True):
        ours, theirs = entities(ours), entities(theirs)
        right, predicted, given = right + len(ours & theirs), predicted + len(ours), given + len(theirs)
    return right, predicted, given


def share(part: float, whole: float) -> float:
    """``part`` of ``whole``, 0 of nothing."""
    return part / whole if whole else 0.0
