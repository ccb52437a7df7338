"""Labels that are not one class of several: sets of classes (multi-label) and scores (regression)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optkit.registry import PROBLEMS
from optkit.tasks.columns import classes_said, column_of, is_text, some

if TYPE_CHECKING:
    from datasets import Dataset

SINGLE, MULTI, REGRESSION = PROBLEMS


def problem_of(rows: Dataset, label: Sequence[str]) -> str:
    """What the labels of a split look like: one of ``PROBLEMS``."""
    import pyarrow as pa

    if len(label) > 1:
        return MULTI
    kind = column_of(rows, label[0]).type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return MULTI
    if not pa.types.is_floating(kind):
        return SINGLE
    values = [value for value in column_of(rows, label[0]).to_pylist() if value is not None and math.isfinite(value)]
    # Whole numbers that a reader took for floats, because one is missing, are classes.
    return REGRESSION if any(value != int(value) for value in values) else SINGLE


def set_names(splits: Mapping[str, Dataset], label: Sequence[str]) -> tuple[list[str], list[str]]:
    """The class names of sets of labels that the training split gives, and what is wrong with them."""
    import datasets

    if len(label) > 1:
        return list(label), []
    split = "train" if "train" in splits else next(iter(splits))
    rows, column = splits[split], label[0]
    feature = getattr(rows.features[column], "feature", None)
    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names), []
    found: set[Any] = set()
    for row, values in enumerate(column_of(rows, column).to_pylist()):
        if not isinstance(values, list) or None in values:
            return [], [f"split '{split}', row {row + 1}: column '{column}' holds no list of labels"]
        found.update(values)
    if len({type(value) for value in found}) > 1 or any(isinstance(value, float) for value in found):
        return [], [f"task.label: column '{column}' of split '{split}' holds lists of neither words nor whole numbers"]
    if found and isinstance(next(iter(found)), str):
        return _two_or_more(sorted(found), split, column)
    absent = (
        sorted(set(range(max(found, default=-1) + 1)) - found) if len(found) > max(found, default=-1) // 10 else [0]
    )
    if min(found, default=0) < 0 or absent:
        return [], [
            f"task.label: the labels of column '{column}' in split '{split}' are {some(sorted(found))}: number the "
            "classes from 0 without a gap, or write words"
        ]
    return _two_or_more([f"LABEL_{i}" for i in range(len(found))], split, column)


def memberships(
    split: str, rows: Dataset, label: Sequence[str], names: Sequence[str]
) -> tuple[list[list[float]], list[str]]:
    """For each row 1.0 where it has a class, 0.0 where not, in the order of ``names``; and the first wrong label."""
    if len(label) > 1:
        return _from_columns(split, rows, label)
    import datasets

    column, found = label[0], []
    feature = getattr(rows.features[column], "feature", None)
    if isinstance(feature, datasets.ClassLabel):
        known: dict[Any, int] = {i: list(names).index(name) for i, name in enumerate(feature.names) if name in names}
    else:
        known = {name: i for i, name in enumerate(names)} | dict(enumerate(range(len(names))))
    for row, values in enumerate(column_of(rows, column).to_pylist()):
        if not isinstance(values, list):
            return [], [f"split '{split}', row {row + 1}: column '{column}' holds no list of labels"]
        wrong = [value for value in values if value not in known]
        if wrong:
            return [], [
                f"split '{split}', row {row + 1}: label {wrong[0]!r} is no class: the classes are {classes_said(names)}"
            ]
        flags = [0.0] * len(names)
        for value in values:
            flags[known[value]] = 1.0
        found.append(flags)
    return found, []


def scores(split: str, rows: Dataset, column: str, names: Sequence[str]) -> tuple[list[float], list[str]]:
    """The number of each row, and the first that is none."""
    import pyarrow as pa

    values = column_of(rows, column)
    if not (is_text(values.type) or pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        return [], [f"task.label: column '{column}' of split '{split}' holds {values.type}, not numbers"]
    found = [_number(value) for value in values.to_pylist()]
    for row, value in enumerate(found):
        if not math.isfinite(value):
            return [], [f"split '{split}', row {row + 1}: column '{column}' holds no number"]
    return found, []


def _number(value: Any) -> float:
    """A number, or the one that a text says, as files that know no types hold them; NaN for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _from_columns(split: str, rows: Dataset, label: Sequence[str]) -> tuple[list[list[float]], list[str]]:
    flags = []
    for column in label:
        values = column_of(rows, column).to_pylist()
        for row, value in enumerate(values):
            if not isinstance(value, (bool, int, float)) or value not in (0, 1):
                return [], [f"split '{split}', row {row + 1}: column '{column}' holds {value!r}, neither 0 nor 1"]
        flags.append([float(value) for value in values])
    return [list(row) for row in zip(*flags, strict=True)], []


def _two_or_more(names: list[str], split: str, column: str) -> tuple[list[str], list[str]]:
    if len(names) > 1:
        return names, []
    return [], [f"task.label: the rows of split '{split}' have fewer than two different labels in column '{column}'"]
