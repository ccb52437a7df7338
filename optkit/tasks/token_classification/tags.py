"""Columns of lists: the words of each row, and a label for each word.

Rows count from 1, and words within a row, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa

from optkit.tasks.classes import ids_of_integers, in_order, is_class_label, other_forms, spelling_problems
from optkit.tasks.columns import column_of, first_few, format_classes, is_text

if TYPE_CHECKING:
    from datasets import Dataset


def word_problems(split: str, rows: Dataset, column: str) -> list[str]:
    """Faults of a column of words: no lists of texts, or a row without any."""
    values = column_of(rows, column).combine_chunks()
    if not (_is_list(values.type) and is_text(values.type.value_type)):
        held = f"column '{column}' of split '{split}' holds {values.type}"
        return [f"task.text: {held}: token-classification reads a list of words in each row"]
    for row, words in enumerate(values.to_pylist()):
        if not words:
            return [f"split '{split}', row {row + 1}: column '{column}' holds no words: remove the row"]
        if None in words:
            return [f"split '{split}', row {row + 1}: word {words.index(None) + 1} of column '{column}' is missing"]
    return []


def tag_names(splits: Mapping[str, Dataset], column: str) -> tuple[list[str], list[str]]:
    """The names of labels that the training split gives, and what is wrong with them.

    The names of a ClassLabel; ``LABEL_0`` ... for the integers 0 to n - 1; else the different words, sorted.
    """
    split = "train" if "train" in splits else next(iter(splits))
    rows = splits[split]
    feature = getattr(rows.features[column], "feature", None)
    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names), []
    values = column_of(rows, column).combine_chunks()
    if problem := _no_labels(split, column, values):
        return [], [problem]
    found = list(set(values.flatten().drop_null().to_pylist()))
    found = in_order(found) if is_text(values.type.value_type) else sorted(found)
    if len(found) < 2:
        return [], [
            f"task.label: every word of split '{split}' has the same label in column '{column}': {first_few(found)}"
        ]
    if is_text(values.type.value_type):
        lists = {name: column_of(rows, column) for name, rows in splits.items() if not is_class_label(rows, column)}
        others = {name: own.combine_chunks().flatten() for name, own in lists.items() if _is_list(own.type)}
        return found, spelling_problems(found, split, column) or other_forms(others, column, found)
    if found != list(range(len(found))):
        return [], [
            f"task.label: the labels of column '{column}' in split '{split}' are {first_few(found)}: "
            "number them from 0 without a gap, or write words"
        ]
    return [f"LABEL_{i}" for i in found], []


def tag_ids(
    split: str, rows: Dataset, words: str, column: str, names: Sequence[str]
) -> tuple[list[np.ndarray], list[str]]:
    """The label ids of each row, one for each word, int64; and the first fault.

    Args:
        words: the column of words that ``column`` has the labels of.
        names: of all labels, in the order of their ids.
    """
    values = column_of(rows, column).combine_chunks()
    if problem := _no_labels(split, column, values):
        return [], [problem]
    feature = getattr(rows.features[column], "feature", None)
    if isinstance(feature, datasets.ClassLabel):
        # Names decide: the same word may have another id in a split that was written separately.
        known: dict[Any, int] = {i: list(names).index(name) for i, name in enumerate(feature.names) if name in names}
    elif is_text(values.type.value_type):
        known = {name: i for i, name in enumerate(names)}
    else:
        known = ids_of_integers(names)
    ids = []
    both = zip(column_of(rows, words).to_pylist(), values.to_pylist(), strict=True)
    for row, (said, labels) in enumerate(both, 1):
        where = f"split '{split}', row {row}"
        if labels is None or len(labels) != len(said):
            count = "none" if labels is None else f"{len(labels)} labels"
            return [], [f"{where}: {len(said)} words in column '{words}' and {count} in column '{column}'"]
        found = [known.get(label) for label in labels]
        if None in found:
            word = found.index(None)
            if labels[word] is None:
                return [], [f"{where}: word {word + 1} has no label in column '{column}'"]
            no_class = f"label {labels[word]!r} of word {word + 1} is no class"
            return [], [f"{where}: {no_class}: the classes are {format_classes(names)}"]
        ids.append(np.array(found, dtype=np.int64))
    return ids, []


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _no_labels(split: str, column: str, values: pa.Array) -> str | None:
    kind = values.type
    if _is_list(kind) and (is_text(kind.value_type) or pa.types.is_integer(kind.value_type)):
        return None
    held = f"column '{column}' of split '{split}' holds {kind}"
    return f"task.label: {held}: token-classification needs a list of labels in each row, words or integers from 0"
