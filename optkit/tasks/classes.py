"""Labels that are one class of several: their names, and the id of each row's.

Rows count from 1, the first example after a header.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optkit.errors import DataError
from optkit.tasks import numbers
from optkit.tasks.columns import column_of, first_few, first_true, format_classes, is_text
from optkit.tasks.numbers import AS_CLASSES, FRACTIONS, INTEGERS, WHOLE, form_of

if TYPE_CHECKING:
    from datasets import Dataset

#: In a split of so many rows, labels of which more than half are seen once are no classes.
_MANY = 8
_DELIMITERS = ";|,"


def label_names(
    splits: Mapping[str, Dataset], column: str, *, are_classes: bool = False
) -> tuple[list[str], list[str]]:
    """The class names that the training split gives, and what is wrong with its labels.

    The names of a ClassLabel; ``LABEL_0`` ... for the integers 0 to n - 1; else the different words, sorted, words that
    are integers by their value.

    Args:
        are_classes: whether the recipe says that the labels are classes, so that words may look like numbers or lists.
    """
    split = "train" if "train" in splits else next(iter(splits))
    rows = splits[split]
    missing = [fault for name, own in splits.items() for fault in missing_label(name, own, column)]
    if missing:
        return [], missing
    if is_class_label(rows, column):
        return list(rows.features[column].names), []
    values, problems = _values(rows, column), []
    if are_classes and is_text(values.type) and form_of(values) == WHOLE:
        values = _whole(values)
    if is_text(values.type):
        if not are_classes:
            problems = _no_words(split, rows, column, values)
        names = in_order(pc.unique(values).to_pylist())
        others = {name: _values(rows, column) for name, rows in splits.items() if not is_class_label(rows, column)}
        problems = problems or spelling_problems(names, split, column) or other_forms(others, column, names)
    else:
        names, problems = _number_classes(values, split, column)
    return names, problems or two_or_more(names, split, column) or single_use_problems(values, split, column)


def label_ids(split: str, rows: Dataset, column: str, names: Sequence[str]) -> tuple[list[int], list[str]]:
    """The class id of each row, and the first label that is none of the classes ``names``."""
    missing = missing_label(split, rows, column)
    if missing:
        return [], missing
    values = _values(rows, column)
    if _holds_numbers(values, names):
        values = _whole(values)
    feature = rows.features[column]
    if isinstance(feature, datasets.ClassLabel):
        # Names decide: the same word may have another id in a split that was written separately.
        known: dict[Any, int] = {i: list(names).index(name) for i, name in enumerate(feature.names) if name in names}
    elif is_text(values.type):
        known = {name: i for i, name in enumerate(names)}
    elif pa.types.is_integer(values.type):
        known = ids_of_integers(names)
    else:
        return [], [_not_labels(values.type, split, column)]
    labels = values.to_pylist()
    ids = [known.get(label) for label in labels]
    if None in ids:
        row = ids.index(None)
        return [], [
            f"split '{split}', row {row + 1}: label {labels[row]!r} is no class: the classes are "
            f"{format_classes(names)}"
        ]
    return ids, []


def checked_label_ids(rows: Dataset, column: str, names: Sequence[str]) -> np.ndarray:
    """The class id of each row, int64 (n,).

    Raises:
        DataError: if a label is missing or none of the classes ``names``.
    """
    ids, problems = label_ids(str(rows.split or "dataset"), rows, column, names)
    if problems:
        raise DataError(problems)
    return np.asarray(ids, np.int64)


def two_or_more(names: Sequence[str], split: str, column: str) -> list[str]:
    """The fault of a column that has one label alone."""
    if len(names) > 1:
        return []
    return [f"task.label: every row of split '{split}' has the same label in column '{column}': {first_few(names)}"]


def single_use_problems(values: pa.ChunkedArray, split: str, column: str) -> list[str]:
    """The fault of a column that is none of classes, since most rows have a label of their own."""
    counts = pc.struct_field(pc.value_counts(values.combine_chunks()), "counts").to_numpy()
    once = int((counts == 1).sum())
    if len(values) < _MANY or once <= len(values) / 2:
        return []
    seen = "every row" if once == len(values) else f"{once} of {len(values)} rows"
    return [
        f"task.label: {seen} of split '{split}' {'has' if once == len(values) else 'have'} a label in column "
        f"'{column}' that no other row has: name a column of classes"
    ]


def spelling_problems(names: Sequence[str], split: str, column: str) -> list[str]:
    """The fault of two names that differ by spaces, by case, or by how Unicode composes them alone.

    Single letters may differ by case.
    """
    seen: dict[str, str] = {}
    for name in names:
        plain = " ".join(unicodedata.normalize("NFC", name).split())
        other = seen.setdefault(plain.casefold() if len(plain) > 1 else plain, name)
        if other != name:
            both = f"{ascii(other)} and {ascii(name)}"
            return [f"task.label: column '{column}' of split '{split}' holds {both}: write one class one way"]
    return []


def in_order(names: Sequence[str]) -> list[str]:
    """Words sorted, and words that are integers by their value, as where they are no words."""
    integers = all(name.strip().isdecimal() for name in names)
    return sorted(names, key=(lambda name: (int(name), name)) if integers else None)


def other_forms(values: Mapping[str, pa.ChunkedArray], column: str, names: Sequence[str]) -> list[str]:
    """The faults of splits that number their labels where the training split names them by the words ``names``.

    Args:
        values: the labels of each split that are no ClassLabel.
    """
    if all(name.strip().isdecimal() for name in names):
        return []
    return [
        f"task.label: split '{split}' numbers the labels of column '{column}', and the training split names them "
        f"({first_few(names, 3)}): write them alike"
        for split, own in values.items()
        if _is_numbered(own, names)
    ]


def is_class_label(rows: Dataset, column: str) -> bool:
    """Whether a column, or the lists in it, has names of classes of its own."""
    feature = rows.features[column]
    return isinstance(getattr(feature, "feature", feature), datasets.ClassLabel)


def missing_label(split: str, rows: Dataset, column: str) -> list[str]:
    """The fault of the first row without a label."""
    values = column_of(rows, column)
    row = first_true(pc.is_null(values, nan_is_null=True))
    if row is None and is_text(values.type):
        row = first_true(pc.equal(pc.utf8_trim_whitespace(values), ""))
    return [] if row is None else [f"split '{split}', row {row + 1}: column '{column}' holds no label"]


def _values(rows: Dataset, column: str) -> pa.ChunkedArray:
    """The labels: as int64 where they are no text and whole numbers, else as they are."""
    values = column_of(rows, column)
    if pa.types.is_boolean(values.type):
        return values.cast(pa.int64())
    return values if is_text(values.type) or form_of(values) != WHOLE else _whole(values)


def _whole(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole numbers, or texts of them, as int64."""
    return pa.chunked_array([pa.array([int(numbers.number(value)) for value in values.to_pylist()], pa.int64())])


def _is_numbered(values: pa.ChunkedArray, names: Sequence[str]) -> bool:
    """Whether labels are whole numbers, as numbers or as texts that are none of ``names``."""
    return pa.types.is_integer(values.type) or _holds_numbers(values, names)


def _holds_numbers(values: pa.ChunkedArray, names: Sequence[str]) -> bool:
    """Whether a text column holds whole numbers, none of which is one of the classes ``names``."""
    if not is_text(values.type) or form_of(values) not in (INTEGERS, WHOLE):
        return False
    return not set(names).intersection(pc.unique(values).to_pylist())


def _number_classes(values: pa.ChunkedArray, split: str, column: str) -> tuple[list[str], list[str]]:
    if not pa.types.is_integer(values.type):
        return [], [_not_labels(values.type, split, column)]
    found = set(pc.unique(values).to_pylist())
    absent = sorted(set(range(max(found) + 1)) - found) if max(found) < 10 * len(found) + 10 else [0]
    if min(found) < 0 or absent:
        return [], [
            f"task.label: the labels of column '{column}' in split '{split}' are {first_few(sorted(found))}: "
            "number the classes from 0 without a gap, or write words"
        ]
    return [f"LABEL_{i}" for i in range(len(found))], []


def ids_of_integers(names: Sequence[str]) -> dict[int, int]:
    """The class that an integer says: by its name where classes are named by integers, else by its id."""
    if all(name.strip().isdecimal() for name in names):
        return {int(name): i for i, name in enumerate(names)}
    return {i: i for i in range(len(names))}


def _no_words(split: str, rows: Dataset, column: str, values: pa.ChunkedArray) -> list[str]:
    """The fault of texts that are no names of classes: numbers, lists, and sets of names."""
    if faults := numbers.text_faults(split, rows, column):
        return faults
    different = [text.strip() for text in pc.unique(values).to_pylist()]
    held = f"task.label: column '{column}' of split '{split}' holds"
    if form_of(values) in (WHOLE, FRACTIONS):
        return [f"{held} numbers with a fraction, such as {different[0]}, which are no classes: write words"]
    lists = "several labels are lists, which a json, jsonl or parquet file holds"
    if all(text[:1] + text[-1:] in ("[]", "()", "{}") for text in different):
        return [f"{held} lists as text, such as {different[0]}: {lists}; or {AS_CLASSES}"]
    for delimiter in _DELIMITERS:
        sets = [{part.strip() for part in text.split(delimiter)} for text in different]
        several = [i for i, parts in enumerate(sets) if len(parts) > 1]
        parts = {part for i in several for part in sets[i]}
        if several and all(sum(part in one for one in sets) > 1 for part in parts):
            return [f"{held} sets of labels as text, such as {different[several[0]]!r}: {lists}; or {AS_CLASSES}"]
    return []


def _not_labels(kind: pa.DataType, split: str, column: str) -> str:
    return f"task.label: column '{column}' of split '{split}' holds {kind}: labels are words, or integers from 0"
