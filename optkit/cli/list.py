"""`optkit list`: everything that a recipe can name, from criteria to data sets."""

from __future__ import annotations

import json
from dataclasses import asdict

import optkit
from optkit.cli import lazy
from optkit.cli.console import plain_console
from optkit.cli.options import Debug, Json


def command(as_json: Json = False, debug: Debug = False) -> None:
    """List the names that a recipe can use. Criteria have their parameters and papers beside them."""
    if as_json:
        print(json.dumps([asdict(entry) for entry in optkit.list_registered()], indent=2))
        return
    table = lazy.Table("kind", "name", "what it does", box=None, pad_edge=False, header_style="bold")
    above = None
    for entry in optkit.list_registered():
        parameters = ", ".join(f"{name}={default}" for name, default in entry.parameters.items())
        lines = [lazy.Text(entry.summary), lazy.Text(parameters, style="cyan"), lazy.Text(entry.paper, style="dim")]
        text = lazy.Text("\n").join(line for line in lines if line)
        table.add_row("" if entry.kind == above else entry.kind, entry.name, text)
        above = entry.kind
    console, suited = plain_console(), lazy.suited_structure()
    console.print(table)
    if suited is not None:
        console.print(f"\nstructures: {suited}", highlight=False)
