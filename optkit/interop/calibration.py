"""Texts of a user's file or dataset as the token ids that calibration runs through the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from optkit.adapters.hub import load_dataset
from optkit.data.files import READERS, read_file
from optkit.errors import DataError, OptkitError, UsageError, argument
from optkit.models import load_tokenizer, longest_input
from optkit.models.config import make_config
from optkit.models.source import Source
from optkit.spelling import suggest

#: Where texts come from: a file, a dataset of the Hub (``name`` or ``name:config``), or the texts themselves, pairs of
#: them as tuples.
Data = str | Path | Sequence[str] | Sequence[tuple[str, str]]


def draw(
    data: Data, text: Sequence[str], *, setup: Path, samples: int, max_length: int, seed: int
) -> list[dict[str, Sequence[int]]]:
    """``samples`` rows of ``data`` drawn by chance, all if there are fewer, as token ids by input, unpadded.

    Args:
        data: see ``Data``; of a dataset the training split, or its first.
        text: the column of texts, or two for pairs; none where the data has one column of texts.
        setup: folder of the model's config and tokenizer.
        max_length: tokens that a text is cut to; a model that takes fewer cuts it to those.
        seed: another one draws others.

    Raises:
        UsageError: if there is no tokenizer, or ``text`` names more than two columns.
        DataError: if the data cannot be read, a column is missing or holds no texts.
        OptkitError: if the Hub can't be reached.
    """
    tokenizer, longest = _tokenizer(setup, max_length)
    columns = _columns(data, list(text))
    rows = len(columns[0])
    chosen = np.random.default_rng(seed).permutation(rows)[:samples]
    drawn = [[column[int(row)] for row in chosen] for column in columns]
    for values in drawn:
        wrong = next((i for i, value in enumerate(values) if not isinstance(value, str) or not value.strip()), None)
        if wrong is not None:
            raise DataError(f"data: row {chosen[wrong] + 1} holds no text: remove it")
    encoded = tokenizer(*drawn, truncation=True, max_length=longest)
    return [{name: lists[i] for name, lists in encoded.items()} for i in range(len(chosen))]


def _tokenizer(setup: Path, max_length: int) -> tuple[Any, int]:
    try:
        tokenizer = load_tokenizer(setup)
    except OptkitError as error:
        cause = str(error).partition(": give a folder")[0]
        raise UsageError(f"{cause}: copy tokenizer.json and tokenizer_config.json beside the model") from error
    longest = longest_input(make_config(Source.of(setup)))
    return tokenizer, min(max_length, tokenizer.model_max_length, longest or max_length)


def _columns(data: Data, text: list[str]) -> list[Any]:
    """One column of texts, or two, each something of one length that gives a text by its row."""
    if len(text) > 2:
        raise UsageError(f"text: {len(text)} columns, and a model takes one text or a pair")
    if not isinstance(data, (str, Path)):
        rows = [(row,) if isinstance(row, str) else tuple(row) for row in data]
        widths = {len(row) for row in rows}
        if text or len(widths) != 1 or not widths <= {1, 2}:
            raise DataError("data: give texts, or pairs of texts as tuples, at least one, and no column names")
        return [list(column) for column in zip(*rows)]
    table = _table(data)
    if not table.num_rows:
        raise DataError(f"{data}: no rows: calibration needs texts")
    there = table.column_names
    for column in text:
        if column not in there:
            near = suggest(column, there)
            raise DataError(f"{data}: no column '{column}'{near}: the columns are {', '.join(there)}")
    if not text:
        text = [name for name in there if _holds_text(table.schema.field(name).type)]
        if len(text) != 1:
            found = f"{len(text)} columns of texts, {', '.join(text)}" if text else f"no texts, only {', '.join(there)}"
            raise DataError(f"{data}: {found}: say which to read with {argument('text')}")
    for column in text:
        if not _holds_text(kind := table.schema.field(column).type):
            raise DataError(f"{data}: column '{column}' holds {kind}, not text: name another with {argument('text')}")
    return [table.column(column).to_pylist() for column in text]


def _table(data: str | Path) -> Any:
    path = Path(data)
    if path.exists() or path.suffix.lower() in READERS:
        return read_file(path, key=argument("data"))
    name, _, config = str(data).partition(":")
    way_out = "give a file of texts instead"
    splits = load_dataset(name, config or None, "main", key="data", way_out=way_out)
    split = splits["train" if "train" in splits else next(iter(splits))]
    return split.with_format("arrow")[:]


def _holds_text(kind: Any) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
