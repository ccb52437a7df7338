"""Checks of the columns that a task reads: every fault is one line that names the split, the row and the value.

Rows count from 1, the first example after a header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optkit.registry import suggest

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def find_columns(splits: Mapping[str, Dataset], **columns: Sequence[str]) -> list[str]:
    """Faults of splits that lack rows or a column, by the key of ``task`` that names it; the message names the columns
    that are there.
    """
    problems = [f"split '{name}' is empty" for name, rows in splits.items() if not len(rows)]
    for key, column in ((f"task.{key}", column) for key, named in columns.items() for column in named):
        lacking = [name for name, rows in splits.items() if column not in rows.column_names]
        if lacking:
            there = splits[lacking[0]].column_names
            where = f"split{'s' * (len(lacking) > 1)} {', '.join(lacking)}"
            problems.append(
                f"{key}: no column '{column}' in {where}{suggest(column, there)}: the columns are {', '.join(there)}"
            )
    return problems


def text_problems(split: str, rows: Dataset, columns: Sequence[str]) -> list[str]:
    """Faults of text columns: not text, or missing in a row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    problems = []
    for column in columns:
        values = column_of(rows, column)
        if pa.types.is_integer(values.type) or pa.types.is_null(values.type) or is_text(values.type):
            row = _first(pc.is_null(values))
            if row is not None:
                problems.append(f"split '{split}', row {row + 1}: column '{column}' holds no text: remove the row")
        else:
            problems.append(f"task.text: column '{column}' of split '{split}' holds {values.type}, not text")
    return problems


def label_names(splits: Mapping[str, Dataset], column: str) -> tuple[list[str], list[str]]:
    """The class names that the training split gives, and what is wrong with its labels."""
    import datasets
    import pyarrow as pa
    import pyarrow.compute as pc

    split = "train" if "train" in splits else next(iter(splits))
    rows = splits[split]
    missing = _missing_label(split, rows, column)
    if missing:
        return [], missing
    feature = rows.features[column]
    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names), []
    values = column_of(rows, column)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int64())
    if is_text(values.type):
        return _two_or_more(sorted(pc.unique(values).to_pylist()), split, column)
    if not pa.types.is_integer(values.type):
        return [], [f"task.label: column '{column}' holds {values.type}: labels are words, or integers from 0"]
    found = set(pc.unique(values).to_pylist())
    absent = sorted(set(range(max(found) + 1)) - found) if max(found) < 10 * len(found) + 10 else [0]
    if min(found) < 0 or absent:
        return [], [
            f"task.label: the labels of column '{column}' in split '{split}' are {some(sorted(found))}: "
            "number the classes from 0 without a gap, or write words"
        ]
    return _two_or_more([f"LABEL_{i}" for i in range(len(found))], split, column)


def label_ids(split: str, rows: Dataset, column: str, names: Sequence[str]) -> tuple[list[int], list[str]]:
    """The class id of each row, and the first label that is none of the classes ``names``."""
    import datasets
    import pyarrow as pa

    missing = _missing_label(split, rows, column)
    if missing:
        return [], missing
    values = column_of(rows, column)
    feature = rows.features[column]
    if isinstance(feature, datasets.ClassLabel):
        # Names decide: the same word may have another id in a split that was written separately.
        known: dict[Any, int] = {i: list(names).index(name) for i, name in enumerate(feature.names) if name in names}
    elif is_text(values.type):
        known = {name: i for i, name in enumerate(names)}
    elif pa.types.is_boolean(values.type) or pa.types.is_integer(values.type):
        known = dict(enumerate(range(len(names))))
    else:
        held = f"column '{column}' of split '{split}' holds {values.type}"
        return [], [f"task.label: {held}: labels are words, or integers from 0"]
    labels = values.to_pylist()
    ids = [known.get(label) for label in labels]
    if None in ids:
        row = ids.index(None)
        return [], [
            f"split '{split}', row {row + 1}: label {labels[row]!r} is no class: the classes are {classes_said(names)}"
        ]
    return ids, []


def classes_said(names: Sequence[str]) -> str:
    """The class names, for a message."""
    if all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        return f"0 to {len(names) - 1}"
    return some(names)


def some(values: Sequence[Any], most: int = 12) -> str:
    """The first ``most`` values, for a message."""
    shown = ", ".join(str(value) for value in values[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")


def _two_or_more(names: list[str], split: str, column: str) -> tuple[list[str], list[str]]:
    if len(names) > 1:
        return names, []
    return [], [f"task.label: every row of split '{split}' has the same label in column '{column}': {some(names)}"]


def _missing_label(split: str, rows: Dataset, column: str) -> list[str]:
    import pyarrow.compute as pc

    values = column_of(rows, column)
    row = _first(pc.is_null(values, nan_is_null=True))
    if row is None and is_text(values.type):
        row = _first(pc.equal(pc.utf8_trim_whitespace(values), ""))
    return [] if row is None else [f"split '{split}', row {row + 1}: column '{column}' holds no label"]


def column_of(rows: Dataset, column: str) -> pa.ChunkedArray:
    """A column as Arrow, in the order of the rows also where the data set was shuffled or selected from."""
    return rows.with_format("arrow")[:][column] if rows._indices is not None else rows.data.column(column)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _first(mask: pa.ChunkedArray) -> int | None:
    """The index of the first true value."""
    import pyarrow.compute as pc

    row = pc.index(mask, True).as_py()
    return None if row < 0 else row
