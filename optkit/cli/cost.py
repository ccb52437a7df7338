"""`optkit cost`: dollars for a million inferences, from a run's measured times and a list of prices."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from optkit.cli.options import Debug, Json


def command(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A folder that `optkit run` finished.", show_default=False)
    ],
    prices: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your price list; a made-up one by default.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Of the times; the first measured.")] = None,
    seq: Annotated[int | None, typer.Option(help="Likewise, tokens.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a million inferences cost with each engine on each machine, and what is saved against dense."""
    from optkit.experiments.cost import costs, load_prices
    from optkit.experiments.runs import load_run

    listed = load_prices(prices)
    loaded = load_run(run)
    found = costs(loaded, listed, batch=batch, seq=seq)
    if as_json:
        print(json.dumps({"date": listed.date, "source": listed.source, "costs": [asdict(c) for c in found]}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"a million inferences of {loaded.name}", title_justify="left")
    for column in ("machine", "engine", "inferences a second", "dollars", "saved"):
        table.add_column(column, justify="left" if column in ("machine", "engine") else "right", no_wrap=True)
    for cost in found:
        saved = "" if cost.saved is None else f"{cost.saved:.0%}"
        table.add_row(cost.instance, cost.engine, f"{cost.per_second:,.0f}", f"{cost.dollars:.2f}", saved)
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(f"Times measured on {loaded.machine}; prices of {listed.date}: {listed.source}.")
    console.print("Machines with more cores are taken to run copies side by side, an estimate.")
