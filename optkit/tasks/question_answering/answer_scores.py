"""Answers to questions, compared as SQuAD's own evaluation does: case, punctuation, articles and spaces do not count.

Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250, and 2018, https://arxiv.org/abs/1806.03822. Of several right
answers the nearest counts; no answer is an empty text, right for a question without any.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """``text`` in lower case without ASCII punctuation and articles, words divided by one space."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def exact(prediction: str, answers: Sequence[str]) -> float:
    """1 if ``prediction`` is one of ``answers``, else 0."""
    return float(normalize(prediction) in _right(answers))


def overlap(prediction: str, answers: Sequence[str]) -> float:
    """F1 of the words that ``prediction`` shares with the nearest of ``answers``."""
    return max(_f1(normalize(prediction).split(), answer.split()) for answer in _right(answers))


def _right(answers: Sequence[str]) -> list[str]:
    # An answer of punctuation and articles alone is none.
    return [text for text in map(normalize, answers) if text] or [""]


def _f1(ours: list[str], theirs: list[str]) -> float:
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * (Counter(ours) & Counter(theirs)).total() / (len(ours) + len(theirs))
