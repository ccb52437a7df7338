"""Reads one data file into an Arrow table: csv, tsv, json, jsonl, parquet or, for texts alone, txt, by its ending.

Nothing is guessed that could change a text. tsv has no quoting, as in GLUE, and csv has the usual one. Every cell of
both is text, and a column becomes integers only where each cell is written as an integer is.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from optkit.errors import DataError

_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"


def read_file(path: Path, key: str = "task.dataset.files") -> pa.Table:
    """The rows of ``path``, in order; ``key`` is where the recipe names it.

    Raises:
        DataError: one line, if the file is missing, of an unknown type, or not what its ending says.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder, not a data file: correct {key}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown file type '{path.suffix}', one of {', '.join(READERS)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file: correct {key}")
    try:
        if _begins_as_utf16(path):
            raise DataError(f"{path}: is UTF-16, not UTF-8: convert the file")
        table = reader(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8: convert the file") from None
    except UnicodeEncodeError:
        raise DataError(f"{path}: holds half of a character, as an escape such as \\ud800: mend the row") from None
    except RecursionError:
        raise DataError(f"{path}: not a readable {path.suffix[1:].lower()} file: it is nested too deeply") from None
    except (pa.ArrowException, ValueError) as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        if "UTF8" in cause:
            raise DataError(f"{path}: is not UTF-8: convert the file") from None
        raise DataError(f"{path}: not a readable {path.suffix[1:].lower()} file: {cause[:300]}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    if any("\0" in name for name in table.column_names):
        raise DataError(f"{path}: the name of a column holds a zero byte: is it a {path.suffix[1:].lower()} file?")
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: two columns are called '{twice[0]}'")
    return table


def _begins_as_utf16(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _read_delimited(path: Path, delimiter: str, quote: str | bool) -> pa.Table:
    parse = csv.ParseOptions(
        delimiter=delimiter, quote_char=quote, double_quote=bool(quote), newlines_in_values=bool(quote)
    )
    # One thread: the order of rows is certain, and messages can tell the row.
    read = csv.ReadOptions(use_threads=False, block_size=1 << 24)
    with csv.open_csv(path, read, parse) as opened:
        names = opened.schema.names
    others = ";" if delimiter == "," else ",;"
    if len(names) == 1 and any(other in names[0] for other in others):
        kind = "comma" if delimiter == "," else "tab"
        raise ValueError(f"its one column is called '{names[0][:80]}', and columns are divided by a {kind}")
    text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    table = csv.read_csv(path, read, parse, text)
    for i, name in enumerate(names):
        table = table.set_column(i, name, _integers(table.column(i)))
    return table


def _integers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as int64 where that loses nothing, else as they are."""
    if len(column) and pc.all(pc.match_substring_regex(column, _INTEGER)).as_py():
        return column.cast(pa.int64())
    return column


def _json(path: Path) -> pa.Table:
    text = path.read_text(encoding="utf-8-sig")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        # A file of one object a line is often called .json too.
        return _rows(_lines(text))
    if isinstance(value, dict) and len(value) == 1 and isinstance(rows := next(iter(value.values())), list):
        value = rows if not rows or isinstance(rows[0], dict) else value
    if isinstance(value, dict) and value and all(isinstance(column, dict) for column in value.values()):
        raise ValueError("each column is an object, as pandas writes it by default: write it with orient='records'")
    if isinstance(value, dict) and value and all(isinstance(column, list) for column in value.values()):
        lengths = {name: len(column) for name, column in value.items()}
        if len(set(lengths.values())) > 1:
            uneven = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"its columns are not of one length: {uneven}")
        value = [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    return _rows(value if isinstance(value, list) else [value])


def _json_lines(path: Path) -> pa.Table:
    return _rows(_lines(path.read_text(encoding="utf-8-sig")))


def _lines(text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error.msg} at column {error.colno}") from None
    return rows


def _rows(rows: list[Any]) -> pa.Table:
    """A table of all the keys that any row has; a row without one has None there."""
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is {json.dumps(row)[:40]}, expected an object of columns")
    columns = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise ValueError(f"column '{name}' mixes types, such as numbers and words") from None
        except OverflowError:
            raise ValueError(f"column '{name}' holds a whole number of more than 64 bits: write it as text") from None
    return pa.table(columns)


def _parquet(path: Path) -> pa.Table:
    table = parquet.read_table(path)
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    return table


def _texts(path: Path) -> pa.Table:
    """One text a line, in a column ``text``; empty lines are passed over."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n"))
    return pa.table({"text": pa.array([line for line in lines if line], pa.string())})


READERS: dict[str, Callable[[Path], Any]] = {
    ".csv": lambda path: _read_delimited(path, ",", '"'),
    ".tsv": lambda path: _read_delimited(path, "\t", False),
    ".json": _json,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
    ".txt": _texts,
}
