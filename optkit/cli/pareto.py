"""`optkit pareto`: accuracy lost against speed gained over many runs, and which of them nothing beats."""

from __future__ import annotations

import json
from typing import Annotated

import typer

import optkit
from optkit.cli import lazy
from optkit.cli.console import wide_console, write_chart
from optkit.cli.options import Debug, Json, Plot, RunFolders, TimesBatch, TimesSeq
from optkit.errors import OptkitError


def command(
    runs: RunFolders,
    max_drop: Annotated[
        float | None, typer.Option(help="Largest acceptable loss in points; prints the fastest run within it.")
    ] = None,
    batch: TimesBatch = None,
    seq: TimesSeq = None,
    plot: Plot = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List runs by accuracy lost and speed gained. Runs that another run beats in both are marked."""
    found = optkit.pareto(runs, batch=batch, seq=seq)
    fastest = None if max_drop is None else found.within(max_drop)
    if plot is not None:
        write_chart(plot, found.chart())
    if as_json:
        path = None if fastest is None else str(fastest.run.path)
        print(json.dumps(found.to_dict() | {"take": path}, indent=2))
    else:
        _show(found)
    if max_drop is None:
        return
    if fastest is None:
        least = min(found.points, key=lambda point: point.drop)
        raise OptkitError(f"no run is within {max_drop:g} points: {least.run.path} loses least, {least.drop:.2f}")
    if not as_json:
        ratio = f"{fastest.speedup.ratio:.2f} times as fast as {fastest.speedup.against.label}"
        print(
            f"fastest within {max_drop:g} points: {fastest.run.path / 'recipe.resolved.yaml'}: "
            f"{fastest.drop:.2f} points lost, {ratio}"
        )
        if fastest.run.report.task.dataset.type == "files":
            print("it names its data files without their folders: copy the files beside it, or use the original recipe")


def _show(found) -> None:
    console, first = wide_console(), found.points[0].speedup
    tokens = "" if first.seq is None else f" x {first.seq} tokens"
    table = lazy.Table(
        title=f"{found.points[0].run.metric} lost and speed gained, {first.batch}{tokens}", title_justify="left"
    )
    for column in ("run", "points lost", "sparsity", "times as fast", "milliseconds", "engine", ""):
        table.add_column(column, justify="left" if column in ("run", "engine", "") else "right", no_wrap=True)
    for point in found.points:
        share = "-" if point.run.sparsity is None else f"{point.run.sparsity:.1%}"
        table.add_row(
            *(point.run.name, f"{point.drop:.2f}", share, f"{point.speedup.ratio:.2f}"),
            *(f"{point.speedup.milliseconds:.2f}", point.speedup.of.label, "beaten" if point.dominated else ""),
            style="dim" if point.dominated else None,
        )
    console.print(table)
    console.print(
        f"Speed is compared with {first.against.label}, on {found.points[0].run.cpu}, "
        f"{lazy.thread_count(first.threads)}."
    )
    for path, why in found.left_out.items():
        console.print(f"left out: {path} {why}")
