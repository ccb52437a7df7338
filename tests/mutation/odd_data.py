"""Data files of each kind, with odd values, missing columns, and as other programs and copies leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from odd_folders import damage_bytes
from odd_values import Plain, odd, pick
from stock import ROWS

#: What a recipe says of each of the row sets.
TASKS: dict[str, str] = {
    "train": "{type: text-classification, text: sentence, max_length: 16",
    "sets": "{type: text-classification, text: sentence, max_length: 16",
    "pairs": "{type: feature-extraction, text: [a, b], label: score, max_length: 16",
    "tags": "{type: token-classification, text: tokens, label: tags, max_length: 16",
    "answers": "{type: question-answering, text: [question, context], label: answers, max_length: 24",
}


def _value(rng: np.random.Generator) -> Any:
    value = odd(rng)
    extra = (
        b"".decode(),
        [["a"]],
        {"text": None},
        {"text": ["a"], "answer_start": [10**6]},
        "\ud83d\ude00",
        0.5,
        "1.0",
        "nan",
    )
    return pick(rng, extra) if rng.random() < 0.3 else str(value) if isinstance(value, Plain) else value


def _change(rng: np.random.Generator, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    name = pick(rng, rows[0])
    row = int(rng.integers(len(rows)))
    value = _value(rng)
    ways = (
        lambda: rows[row].update({name: value}),
        lambda: rows[row].update({name: value}),
        lambda: rows[0].update({name: value}),
        lambda: [each.update({name: value}) for each in rows],
        lambda: [each.update({name: value}) for each in rows],
        lambda: [each.update({name: _value(rng)}) for each in rows],
        lambda: [each.pop(name) for each in rows],
        lambda: rows[row].pop(name),
        lambda: [each.update({f"{name} ": each.pop(name)}) for each in rows],
        lambda: [each.update({pick(rng, ("", "labels", "idx", "input_ids", "\u0000", "é")): value}) for each in rows],
        lambda: rows.clear(),
        lambda: rows.__setitem__(slice(None), rows[:1]),
        lambda: [each.update({name: rows[0][name]}) for each in rows],
        lambda: [each.update({name: [each[name]]}) for each in rows],
        lambda: [each.update({name: {"a": each[name]}}) for each in rows],
        lambda: rows.__setitem__(row, value),
        lambda: rows.append(dict.fromkeys(rows[0])),
    )
    pick(rng, ways)()
    return rows


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _delimited(rows: list[Any], mark: str) -> str:
    names = [name for name in rows[0]] if rows and isinstance(rows[0], dict) else ["a"]
    lines = [
        names,
        *([_cell(row.get(name)) for name in names] if isinstance(row, dict) else [_cell(row)] for row in rows),
    ]
    return "\n".join(mark.join(line) for line in lines) + "\n"


def _parquet(rng: np.random.Generator, rows: list[Any], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {}
    for name in rows[0] if rows and isinstance(rows[0], dict) else ():
        values = [row.get(name) if isinstance(row, dict) else None for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, UnicodeError, OverflowError):
            columns[name] = pa.array([str(value).encode("utf-8", "replace") for value in values])
        kinds = (
            pa.large_string(),
            pa.binary(),
            pa.float16(),
            pa.decimal128(10, 2),
            pa.date32(),
            pa.bool_(),
            pa.uint64(),
            pa.null(),
        )
        if rng.random() < 0.3:
            kind = pick(rng, kinds)
            try:
                columns[name] = columns[name].cast(kind)
            except (pa.ArrowException, NotImplementedError):
                columns[name] = pa.nulls(len(values), kind)
        elif rng.random() < 0.1 and not pa.types.is_nested(columns[name].type):
            columns[name] = columns[name].dictionary_encode()
    parquet.write_table(pa.table(columns), path)


def write(rng: np.random.Generator, folder: Path) -> tuple[Path, str, str]:
    """A data file in ``folder``; the task that reads such rows, without its dataset; and the file in words."""
    kind = pick(rng, TASKS)
    rows: list[Any] = json.loads(json.dumps(ROWS[kind]))
    for _ in range(int(rng.choice([1, 1, 2]))):
        if rows and all(isinstance(row, dict) and row for row in rows):
            try:
                rows = _change(rng, rows)
            except (KeyError, TypeError):
                pass
    path = folder / f"data{pick(rng, ('.csv', '.tsv', '.json', '.jsonl', '.jsonl', '.jsonl', '.parquet'))}"
    try:
        if path.suffix in (".csv", ".tsv"):
            path.write_bytes(_delimited(rows, "," if path.suffix == ".csv" else "\t").encode("utf-8", "surrogatepass"))
        elif path.suffix == ".json":
            columns = rng.random() < 0.3 and rows and all(isinstance(row, dict) for row in rows)
            whole = (
                {name: [row.get(name) for row in rows] for name in rows[0]}
                if columns
                else {"data": rows}
                if rng.random() < 0.3
                else rows
            )
            path.write_text(json.dumps(whole))
        elif path.suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            _parquet(rng, rows, path)
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        path = folder / "data.jsonl"
        path.write_text(f"{error}\n")
    if rng.random() < 0.25:
        _damage(rng, path)
    return path, TASKS[kind], f"{path.name}: {path.read_bytes()[:1500]!r}" if path.is_file() else path.name


def _damage(rng: np.random.Generator, path: Path) -> None:
    held = path.read_bytes()
    text = held.decode("utf-8", "replace")
    lines = text.splitlines(keepends=True)
    ways = (
        *(lambda: damage_bytes(rng, path), lambda: damage_bytes(rng, path)),
        *(
            lambda: path.write_bytes(text.encode("utf-16")),
            lambda: path.write_bytes(("é" + text).encode("latin-1", "replace")),
        ),
        *(lambda: path.write_bytes(b"\xef\xbb\xbf" + held), lambda: path.write_bytes(held.replace(b"\n", b"\r\n"))),
        *(
            lambda: path.write_text("".join(lines[:1])),
            lambda: path.write_text("".join([*lines[:2], 'a,"b\n', *lines[2:]])),
        ),
        *(
            lambda: path.write_text("".join([*lines[:3], "\t,".join(["x"] * 9) + "\n", *lines[3:]])),
            lambda: path.write_text("\n\n\n"),
        ),
        *(
            lambda: path.write_text("[" * 100_000),
            lambda: path.write_text('{"a": ' * 50_000),
            lambda: path.write_text("1\n" * 9),
        ),
        *(
            lambda: (path.unlink(), path.mkdir()),
            lambda: (path.unlink(), path.symlink_to(path.name)),
            lambda: path.write_text('{"a": NaN}\n'),
        ),
    )
    pick(rng, ways)()
