"""`optkit compare`: what differs between two runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import optkit
from optkit.cli import lazy
from optkit.cli.console import wide_console
from optkit.cli.options import Debug, Json

#: Of the JSON; 2: models and engines go by the labels that reports have.
FORMAT = 2

_TITLES = {
    "recipe": "recipe",
    "accuracy": "scores",
    "speed": "milliseconds",
    "sparsity": "layers",
    "machine": "machine and versions",
}


def command(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another one.", show_default=False)],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show how two runs differ. Recipes, scores, times, layers, machines and versions are compared."""
    found = optkit.compare(first, second).to_dict()
    if as_json:
        print(json.dumps({"format": FORMAT} | found, indent=2))
        return
    console = wide_console()
    if not any(found.values()):
        console.print("Nothing differs.")
    for kind, title in _TITLES.items():
        if not found[kind]:
            continue
        table = lazy.Table(title=title, title_justify="left")
        for column in ("", first.name, second.name):
            table.add_column(column, overflow="fold", justify="right" if column else "left")
        for row in found[kind]:
            table.add_row(row["what"], _format_value(row["first"]), _format_value(row["second"]))
        console.print(table)
    if found["speed_left_out"]:
        console.print(found["speed_left_out"])


def _format_value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, (tuple, list)) and len(value) == 2 and isinstance(value[1], float):
        return f"{value[0]} {value[1]:.1%}"
    return str(value)
