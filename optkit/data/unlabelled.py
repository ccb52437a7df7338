"""Texts without labels beside the labelled ones, from files or the Hub, for a teacher to judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets

from optkit.adapters.hub import load_dataset
from optkit.data.files import read_file
from optkit.data.splits import as_dataset
from optkit.errors import DataError
from optkit.spelling import suggest
from optkit.tasks.columns import text_problems

if TYPE_CHECKING:
    from datasets import Dataset

    from optkit.recipe.distill import UnlabelledSpec

_KEY = "distill.data"


def load_unlabelled(spec: UnlabelledSpec, columns: Sequence[str]) -> Dataset | None:
    """The texts that ``spec`` names, in order, under the names ``columns``; None where it names no source.

    Args:
        spec: the recipe's distill.data.
        columns: those of task.text; ``spec.text`` says which of the source's they are, if they have other names. The
            one column of a .txt file goes by any name.

    Raises:
        DataError: every missing or unreadable file, missing column and missing text, a line each.
        OptkitError: if the Hub can't be reached.
    """
    theirs = spec.text or tuple(columns)
    if spec.files is None and spec.name is None:
        return None
    tables, problems = [], []
    for source, read in _sources(spec):
        try:
            rows = read()
        except DataError as error:
            problems += error.problems
            continue
        if source.lower().endswith(".txt"):
            if len(theirs) > 1:
                problems.append(f"{_KEY}.files: {source} holds one text a line, and the task takes {len(theirs)}")
                continue
            rows = rows.rename_column("text", theirs[0]) if theirs[0] != "text" else rows
        missing = [column for column in theirs if column not in rows.column_names]
        for column in missing:
            there = ", ".join(rows.column_names)
            near = suggest(column, rows.column_names)
            problems.append(f"{_KEY}.text: no column '{column}' in {source}{near}: the columns are {there}")
        if not missing:
            faults = text_problems(source, rows, theirs) if len(rows) else [f"{source} holds no texts"]
            problems += [fault.replace("task.text", f"{_KEY}.text", 1) for fault in faults]
            tables.append(_as_text(rows, theirs, columns))
    if problems:
        raise DataError(problems)
    return datasets.concatenate_datasets(tables)


def _sources(spec: UnlabelledSpec) -> list[tuple[str, Any]]:
    """What each source is called, and what reads it."""

    def from_hub() -> Dataset:
        found = load_dataset(spec.name, spec.config, spec.revision, key=f"{_KEY}.name")
        if spec.split not in found:
            hint = f"{suggest(spec.split, found)}: it has {', '.join(found)}"
            raise DataError(f"{_KEY}.split: {spec.name} has no split '{spec.split}'{hint}")
        return found[spec.split]

    if spec.name is not None:
        return [(spec.name, from_hub)]
    return [(f, lambda f=f: as_dataset(read_file(Path(f), f"{_KEY}.files"))) for f in spec.files]


def _as_text(rows: Dataset, theirs: Sequence[str], ours: Sequence[str]) -> Dataset:
    """The columns ``theirs`` as texts, called ``ours``; one type for all sources."""
    texts = {our: [str(text) for text in rows[their]] for our, their in zip(ours, theirs, strict=True)}
    return datasets.Dataset.from_dict(texts, datasets.Features({our: datasets.Value("string") for our in ours}))
