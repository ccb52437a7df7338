"""Numbers in label columns, in whichever form a file holds them: cells of a csv file and JSON strings are text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optkit.errors import DataError
from optkit.tasks.columns import column_of, is_text

if TYPE_CHECKING:
    from datasets import Dataset

#: What a column holds. ``WHOLE`` are whole numbers written with a fraction (3.0), which may be classes or scores.
WORDS, INTEGERS, WHOLE, FRACTIONS, OTHER = "words", "integers", "whole", "fractions", "other"

_INTEGER = re.compile(r"[+-]?\d+")
_FRACTION = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(,\d{3})+(\.\d+)?|\d{1,3}(\.\d{3})+),\d+|[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
#: The way out where text looks like numbers and may be meant as classes.
AS_CLASSES = "set task.problem: single_label_classification if these are names of classes"


def number(value: Any) -> float:
    """A number, or the one that a text says; NaN for anything else."""
    if isinstance(value, str) and not (_INTEGER.fullmatch(value.strip()) or _FRACTION.fullmatch(value.strip())):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def are_numbers(kind: pa.DataType) -> bool:
    """Whether a column of this type holds numbers."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def form_of(values: pa.ChunkedArray) -> str:
    """The form of what a column holds but for missing values: ``WORDS``, ``INTEGERS``, ``WHOLE``, ``FRACTIONS`` or
    ``OTHER``.
    """
    if pa.types.is_integer(values.type):
        return INTEGERS
    if not is_text(values.type) and not are_numbers(values.type):
        return OTHER
    different = pc.unique(values).drop_null().to_pylist()
    if is_text(values.type):
        different = [value.strip() for value in different if value.strip()]
        if all(_INTEGER.fullmatch(value) for value in different):
            return INTEGERS
        if not all(_INTEGER.fullmatch(value) or _FRACTION.fullmatch(value) for value in different):
            return WORDS
    known = [value for value in map(number, different) if not math.isnan(value)]
    return WHOLE if all(value.is_integer() for value in known) else FRACTIONS


def text_faults(split: str, rows: Dataset, column: str) -> list[str]:
    """The first fault of a text column of labels in which numbers stand: a comma for a point, or words among numbers.

    Words alone, and words beside integers, are names of classes, and no fault.
    """
    values = column_of(rows, column)
    if not is_text(values.type):
        return []
    texts = [(text or "").strip() for text in values.to_pylist()]
    commas = [row for row, text in enumerate(texts) if _COMMA.fullmatch(text)]
    points = [row for row, text in enumerate(texts) if _FRACTION.fullmatch(text)]
    if not commas and not points:
        return []
    numeric = (_COMMA, _FRACTION, _INTEGER)
    other = [row for row, text in enumerate(texts) if text and not any(form.fullmatch(text) for form in numeric)]
    if other:
        sample = texts[(points or commas)[0]]
        return [
            f"split '{split}', row {other[0] + 1}: column '{column}' holds {texts[other[0]]!r}, and numbers such as "
            f"{sample} in other rows: write numbers alone, or {AS_CLASSES}"
        ]
    if commas:
        return [
            f"split '{split}', row {commas[0] + 1}: column '{column}' holds {texts[commas[0]]!r}, a number with a "
            f"comma: write scores with a point and sets of classes as lists in a jsonl file, or {AS_CLASSES}"
        ]
    return []


def score_problems(splits: Mapping[str, Dataset], column: str) -> list[str]:
    """The first fault of a column of scores: what is no number, or scores of the training split that are all alike."""
    for split, rows in splits.items():
        found, problems = scores(split, rows, column)
        if not problems and split == "train" and len(set(found)) < 2:
            problems = [f"task.label: every row of split '{split}' has the same score in column '{column}'"]
        if problems:
            return problems
    return []


def describe_scores(splits: Mapping[str, Dataset], column: str) -> str:
    """The range of the scores of all splits, which have been checked."""
    found = [value for split, rows in splits.items() for value in scores(split, rows, column)[0]]
    return f"label: scores from {min(found):g} to {max(found):g}"


def scores(split: str, rows: Dataset, column: str) -> tuple[list[float], list[str]]:
    """The number of each row, and the first that is none."""
    values = column_of(rows, column)
    if not is_text(values.type) and not are_numbers(values.type):
        return [], [f"task.label: column '{column}' of split '{split}' holds {values.type}, not numbers"]
    plain = values.to_pylist()
    found = [number(value) for value in plain]
    for row, value in enumerate(found):
        if not math.isfinite(value):
            said = "" if plain[row] is None or plain[row] != plain[row] else f": {plain[row]!r}"
            point = ", write numbers with a point" if _COMMA.fullmatch(str(plain[row]).strip()) else ""
            return [], [f"split '{split}', row {row + 1}: column '{column}' holds no number{said}{point}"]
    return found, []


def checked_scores(rows: Dataset, column: str) -> np.ndarray:
    """The number of each row, float32 (n,).

    Raises:
        DataError: if one is none.
    """
    found, problems = scores(str(rows.split or "dataset"), rows, column)
    if problems:
        raise DataError(problems)
    return np.asarray(found, np.float32)
