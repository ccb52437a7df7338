"""Labels that are not one class of several: sets of classes (multi-label) and scores (regression)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from optkit.tasks import numbers
from optkit.tasks.classes import missing_label, spelling_problems
from optkit.tasks.columns import column_of, first_few, format_classes
from optkit.tasks.numbers import FRACTIONS, INTEGERS, WHOLE, form_of
from optkit.tasks.text_classification.spec import TEXT_CLASSIFICATION

if TYPE_CHECKING:
    from datasets import Dataset

SINGLE, MULTI, REGRESSION = TEXT_CLASSIFICATION.problems


def problem_of(
    splits: Mapping[str, Dataset], label: Sequence[str], scored: Callable[[], bool]
) -> tuple[str, list[str]]:
    """What the labels look like, one of the task's problems; and what is wrong where they do not tell.

    Args:
        scored: says whether whole numbers are scores, by the recipe's metric or the start model's only output.
    """
    split = "train" if "train" in splits else next(iter(splits))
    kind = column_of(splits[split], label[0]).type
    if len(label) > 1 or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return MULTI, []
    if isinstance(splits[split].features[label[0]], datasets.ClassLabel):
        return SINGLE, []
    known = {name: pc.drop_null(column_of(rows, label[0])) for name, rows in splits.items()}
    forms = {name: form_of(values) for name, values in known.items()}
    numeric = {INTEGERS, WHOLE, FRACTIONS}
    if forms[split] == FRACTIONS or (FRACTIONS in forms.values() and numeric.issuperset(forms.values())):
        return REGRESSION, []
    if forms[split] not in numeric:
        return SINGLE, numbers.text_faults(split, splits[split], label[0])
    if scored():
        return REGRESSION, []
    if forms[split] == WHOLE:
        return SINGLE, missing_label(split, splits[split], label[0]) or [
            f"task.label: column '{label[0]}' of split '{split}' holds whole numbers with a fraction, such as "
            f"{known[split][0]}: set task.problem to regression if they are scores, or to single_label_classification "
            "if they number classes"
        ]
    return SINGLE, []


def set_names(splits: Mapping[str, Dataset], label: Sequence[str]) -> tuple[list[str], list[str]]:
    """The class names of sets of labels that the training split gives, and what is wrong with them."""
    if len(label) > 1:
        return list(label), []
    split = "train" if "train" in splits else next(iter(splits))
    rows, column = splits[split], label[0]
    feature = getattr(rows.features[column], "feature", None)
    if isinstance(feature, datasets.ClassLabel):
        return list(feature.names), []
    found: set[Any] = set()
    for row, values in enumerate(column_of(rows, column).to_pylist()):
        if problem := _no_set(split, row, column, values):
            return [], [problem]
        found.update(values)
    if len(found) > 1 and all(len(values) == len(found) for values in column_of(rows, column).to_pylist()):
        return [], [
            f"task.label: every row of split '{split}' has all labels of column '{column}', "
            f"{first_few(sorted(found, key=str))}: a list holds the classes of a row; of flags (0 and 1) make a column "
            "for each class"
        ]
    if len({type(value) for value in found}) > 1 or any(isinstance(value, float) for value in found):
        return [], [f"task.label: column '{column}' of split '{split}' holds lists of neither words nor whole numbers"]
    if found and isinstance(next(iter(found)), str):
        names, problems = _two_or_more(sorted(found), split, column)
        return names, problems or spelling_problems(names, split, column)
    absent = (
        sorted(set(range(max(found, default=-1) + 1)) - found) if len(found) > max(found, default=-1) // 10 else [0]
    )
    if min(found, default=0) < 0 or absent:
        return [], [
            f"task.label: the labels of column '{column}' in split '{split}' are {first_few(sorted(found))}: number "
            "the classes from 0 without a gap, or write words"
        ]
    return _two_or_more([f"LABEL_{i}" for i in range(len(found))], split, column)


def memberships(
    split: str, rows: Dataset, label: Sequence[str], names: Sequence[str]
) -> tuple[list[list[float]], list[str]]:
    """For each row 1.0 where it has a class, 0.0 where not, in the order of ``names``; and the first wrong label."""
    if len(label) > 1:
        return _from_columns(split, rows, label)
    column, found = label[0], []
    feature = getattr(rows.features[column], "feature", None)
    if isinstance(feature, datasets.ClassLabel):
        known: dict[Any, int] = {i: list(names).index(name) for i, name in enumerate(feature.names) if name in names}
    else:
        known = {name: i for i, name in enumerate(names)} | dict(enumerate(range(len(names))))
    for row, values in enumerate(column_of(rows, column).to_pylist()):
        if problem := _no_set(split, row, column, values):
            return [], [problem]
        wrong = [value for value in values if value not in known]
        if wrong:
            return [], [
                f"split '{split}', row {row + 1}: label {wrong[0]!r} is no class: the classes are "
                f"{format_classes(names)}"
            ]
        flags = [0.0] * len(names)
        for value in values:
            flags[known[value]] = 1.0
        found.append(flags)
    return found, []


def _no_set(split: str, row: int, column: str, values: Any) -> str | None:
    """What is wrong with the labels of a row, if they are no list of different labels."""
    where = f"split '{split}', row {row + 1}"
    if not isinstance(values, list) or None in values:
        hint = ": lists are in json, jsonl and parquet files" if isinstance(values, str) else ""
        return f"{where}: column '{column}' holds no list of labels{hint}"
    if any(isinstance(value, (dict, list)) for value in values):
        return f"{where}: column '{column}' holds a list of lists or objects: write words or whole numbers"
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is None:
        return None
    return (
        f"{where}: column '{column}' holds the label {twice!r} twice: a list holds the classes of a row, each once; of "
        "flags (0 and 1) make a column for each class"
    )


def _from_columns(split: str, rows: Dataset, label: Sequence[str]) -> tuple[list[list[float]], list[str]]:
    flags = []
    for column in label:
        values = column_of(rows, column).to_pylist()
        found = [_flag(value) for value in values]
        for row, value in enumerate(found):
            if value not in (0, 1):
                return [], [f"split '{split}', row {row + 1}: column '{column}' holds {values[row]!r}, neither 0 nor 1"]
        flags.append(found)
    return [list(row) for row in zip(*flags, strict=True)], []


def _flag(value: Any) -> float:
    """A number, or what a truth value in a csv file says; NaN for anything else."""
    flags = {"true": 1.0, "false": 0.0}
    return flags.get(value.strip().lower(), numbers.number(value)) if isinstance(value, str) else numbers.number(value)


def _two_or_more(names: list[str], split: str, column: str) -> tuple[list[str], list[str]]:
    if len(names) > 1:
        return names, []
    return [], [f"task.label: the rows of split '{split}' have fewer than two different labels in column '{column}'"]
