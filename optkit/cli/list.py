"""`optkit list`: everything that a recipe can name, from criteria to data sets."""

from __future__ import annotations

import json
from dataclasses import asdict

from optkit.cli.options import Debug, Json


def command(as_json: Json = False, debug: Debug = False) -> None:
    """Print what a recipe can name, with parameters and papers."""
    from optkit.registry import entries

    if as_json:
        print(json.dumps([asdict(entry) for entry in entries()], indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("kind", "name", "what it does", box=None, pad_edge=False, header_style="bold")
    above = None
    for entry in entries():
        parameters = ", ".join(f"{name}={default}" for name, default in entry.parameters.items())
        lines = [Text(entry.summary), Text(parameters, style="cyan"), Text(entry.paper, style="dim")]
        text = Text("\n").join(line for line in lines if line)
        table.add_row("" if entry.kind == above else entry.kind, entry.name, text)
        above = entry.kind
    Console().print(table)
