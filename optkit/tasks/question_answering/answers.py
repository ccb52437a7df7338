"""Answers that are parts of a text: read and checked, placed on tokens, and chosen from a model's scores.

Rows count from 1, characters from 0, as ``answer_start`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from optkit.tasks.columns import column_of

if TYPE_CHECKING:
    from datasets import Dataset

#: Beginnings and ends of a window that are looked at, the best ones: SQuAD's usual n-best list.
BEST = 20


class Gold(NamedTuple):
    """The right answers to one question, none where it has none: their texts, and where they begin."""

    texts: list[str]
    starts: list[int]


def gold_answers(split: str, rows: Dataset, context: str, column: str) -> tuple[list[Gold], list[str]]:
    """The right answers of each row, and the first fault: answers that are missing, malformed, or not where they say.

    Args:
        context: the column with the texts that they are parts of.
        column: holds ``{text: [...], answer_start: [...]}`` in each row, or a list of ``{text, answer_start}``.
    """
    found = []
    both = zip(column_of(rows, context).to_pylist(), column_of(rows, column).to_pylist(), strict=True)
    for row, (text, value) in enumerate(both, 1):
        where = f"split '{split}', row {row}"
        gold = _gold(value)
        if gold is None:
            message = "answers are {text: [...], answer_start: [...]}, empty lists for a question without one"
            return [], [f"{where}: column '{column}' holds {_show(value)}: {message}"]
        for answer, start in zip(*gold, strict=True):
            there = str(text)[max(start, 0) : max(start, 0) + len(answer)]
            if start < 0 or there != answer:
                message = f"answer {_show(answer)} is not at character {start} of column '{context}'"
                return [], [f"{where}: {message}, which holds {_show(there)} there: correct answer_start"]
        found.append(gold)
    return found, []


def _gold(value: Any) -> Gold | None:
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        value = {key: [item.get(key) for item in value] for key in ("text", "answer_start")}
    if not isinstance(value, dict):
        return None
    texts, starts = value.get("text"), value.get("answer_start")
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        return None
    if not all(isinstance(text, str) and text for text in texts) or not all(type(start) is int for start in starts):
        return None
    return Gold(texts, starts)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def token_span(start: int, length: int, starts: np.ndarray, ends: np.ndarray) -> tuple[int, int] | None:
    """The first and the last token of an answer; None where it is not wholly among them.

    Args:
        start, length: of the answer, in characters.
        starts, ends: characters at which each token begins and ends (tokens,), ascending.
    """
    if not len(starts) or start < starts[0] or start + length > ends[-1]:
        return None
    first = int(np.searchsorted(starts, start, "right")) - 1
    return first, int(np.searchsorted(ends, start + length, "left"))


def best_span(start: np.ndarray, end: np.ndarray, longest: int) -> tuple[float, int, int]:
    """The best answer within one window: its score, and its first and last token; minus infinity where there is none.

    Args:
        start, end: scores of each token (tokens,) for being the first, and the last.
        longest: most tokens of an answer.
    """
    if not len(start):
        return -np.inf, 0, 0
    firsts, lasts = (np.argsort(-scores, kind="stable")[:BEST] for scores in (start, end))
    tokens = lasts[None, :] - firsts[:, None] + 1
    scores = np.where((tokens > 0) & (tokens <= longest), start[firsts][:, None] + end[lasts][None, :], -np.inf)
    first, last = np.unravel_index(scores.argmax(), scores.shape)
    return float(scores[first, last]), int(firsts[first]), int(lasts[last])


def shorten(questions: Sequence[str], processor: Any, longest: int) -> list[str]:
    """``questions``, those of more than ``longest`` tokens without their ends."""
    found = list(questions)
    for i, ids in enumerate(processor(found, add_special_tokens=False, verbose=False)["input_ids"]):
        keep = longest
        while len(ids) > longest:
            offsets = processor(questions[i], add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            found[i] = questions[i][: offsets[keep - 1][1]]
            ids, keep = processor(found[i], add_special_tokens=False)["input_ids"], keep - 1
    return found
