"""`optkit cost`: dollars for a million inferences, from what was measured and a list of prices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import optkit
from optkit.cli import lazy
from optkit.cli.console import wide_console
from optkit.cli.options import Debug, Json, TimesBatch, TimesSeq
from optkit.errors import UsageError


def command(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A finished run, or a file of `optkit bench --json`.", show_default=False),
    ],
    prices: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Price list, a YAML file (required); see docs/sweeps.md.", show_default=False
        ),
    ] = None,
    batch: TimesBatch = None,
    seq: TimesSeq = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a million inferences cost at given prices. Savings are against the dense model."""
    if prices is None:
        raise UsageError(f"--prices: give a YAML file with {lazy.price_list_form}")
    found = optkit.cost(path, prices, batch=batch, seq=seq)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    table = lazy.Table(title=f"a million inferences of {found.rates.name}", title_justify="left")
    for column in ("machine", "engine", "inferences a second", "dollars", "saved"):
        table.add_column(column, justify="left" if column in ("machine", "engine") else "right", no_wrap=True)
    for each in found.costs:
        saved = "" if each.saved is None else f"{each.saved:.0%}"
        table.add_row(
            each.instance, each.engine_label, f"{each.per_second:,.0f}", lazy.format_dollars(each.dollars), saved
        )
    console = wide_console()
    console.print(table)
    console.print(f"Measured on {found.rates.cpu}: {found.rates.how}, {lazy.thread_count(found.rates.threads)} each.")
    console.print(f"Prices of {found.prices.date}: {found.prices.source}.")
    console.print("For machines with more cores, the estimate assumes that copies of the model run in parallel.")
    there = found.prices.large_enough(found.rates.threads)
    for left_out in (each for each in found.prices.instances if each not in there):
        console.print(f"left out: {left_out.name}, which has {left_out.cores} cores, fewer than were measured on.")
