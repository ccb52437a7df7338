"""Checks of the columns that a task reads: every fault is one line that names the split, the row and the value.

Rows count from 1, the first example after a header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from optkit.spelling import suggest

if TYPE_CHECKING:
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
    problems = []
    for column in columns:
        values = column_of(rows, column)
        if pa.types.is_integer(values.type) or pa.types.is_null(values.type) or is_text(values.type):
            row = first_true(pc.is_null(values))
            if row is not None:
                problems.append(f"split '{split}', row {row + 1}: column '{column}' holds no text: remove the row")
        else:
            problems.append(f"task.text: column '{column}' of split '{split}' holds {values.type}, not text")
    return problems


def format_classes(names: Sequence[str]) -> str:
    """The class names, for a message."""
    if all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        return f"0 to {len(names) - 1}"
    return first_few(names)


def first_few(values: Sequence[Any], count: int = 12) -> str:
    """The first ``count`` values, for a message."""
    shown = ", ".join(str(value) for value in values[:count])
    return shown + (f" and {len(values) - count} more" if len(values) > count else "")


def column_of(rows: Dataset, column: str) -> pa.ChunkedArray:
    """A column as Arrow, in the order of the rows also where the data set was shuffled or selected from."""
    return rows.with_format("arrow")[:][column] if rows._indices is not None else rows.data.column(column)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def first_true(mask: pa.ChunkedArray) -> int | None:
    """The index of the first true value."""
    row = pc.index(mask, True).as_py()
    return None if row < 0 else row
