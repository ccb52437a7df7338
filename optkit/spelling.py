"""Corrects a mistyped name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggest(word: str, choices: Iterable[str]) -> str:
    """``", did you mean 'schedule'?"`` for the choice nearest to a mistyped ``word``; empty when none is near."""
    near = get_close_matches(word.lower(), list(choices), n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else ""
