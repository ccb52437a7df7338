"""`optkit sweep`: many runs of one recipe, every combination of some values."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import optkit
from optkit.cli import lazy
from optkit.cli.console import wide_console
from optkit.cli.options import Debug, Json, RecipeFile, Set
from optkit.errors import OptkitError


def command(
    recipe: RecipeFile,
    grid: Annotated[
        list[str],
        typer.Option(
            metavar="PATH=[A, B]", help="Values of a key, such as 'prune.0.schedule.to=[0.7, 0.8]'; repeatable."
        ),
    ],
    set_: Set,
    output: Annotated[Path | None, typer.Option(help="Folder of the runs. Default: sweeps/NAME.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs in parallel; they share the cores equally.")] = 1,
    ray: Annotated[
        bool, typer.Option("--ray", help="Run on Ray: on this machine, or on the cluster of --ray-address.")
    ] = False,
    ray_address: Annotated[
        str | None, typer.Option(help="A Ray cluster whose machines see the output folder under the same path.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a recipe with every combination of some values. Finished runs are kept, and failures do not stop others."""
    root = output or Path("sweeps") / recipe.stem
    how = {"output": root, "jobs": jobs, "ray": ray, "ray_address": ray_address, "quiet": False}
    results = optkit.sweep(recipe, grid, set_, **how)
    if as_json:
        print(json.dumps([asdict(result) for result in results], indent=2))
    else:
        _show(results)
        _draw(root, wide_console())
    failed = [result for result in results if not result.whole]
    if failed:
        raise OptkitError(
            f"{len(failed)} of {len(results)} runs failed, first {root / failed[0].name}.log: {failed[0].said}"
        )


def _show(results) -> None:
    table = lazy.Table()
    for column in ("run", "status", "score", "points lost", "sparsity", "times as fast", "milliseconds"):
        table.add_column(column, justify="left" if column in ("run", "status") else "right", no_wrap=True)
    for result in results:
        number = lambda name, form, facts=result.facts: "-" if facts.get(name) is None else form.format(facts[name])  # noqa: E731
        table.add_row(
            *(result.name, result.status, number("score", "{:.2f}"), number("drop", "{:.2f}")),
            *(number("sparsity", "{:.1%}"), number("speedup", "{:.2f}"), number("milliseconds", "{:.2f}")),
        )
    wide_console().print(table)


def _draw(root: Path, console) -> None:
    try:
        found = lazy.draw_frontier(root)
    except OptkitError as error:
        console.print(f"no Pareto frontier: {error}")
        return
    console.print(
        f"Pareto frontier: {', '.join(point.run.name for point in found.best)}; chart: {root / lazy.FRONTIER_CHART}"
    )
