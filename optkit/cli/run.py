"""`optkit run`: the whole job of a recipe, as far as it is not done yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import optkit
from optkit.cli import lazy
from optkit.cli.console import wide_console
from optkit.cli.options import Debug, Json, RecipeFile, Set
from optkit.errors import UsageError


def command(
    recipe: RecipeFile,
    set_: Set,
    output: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/NAME.")] = None,
    stop_after: Annotated[
        str | None, typer.Option(metavar="STAGE", help="The last stage to run, such as train.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Move finished stages to stale/ and start over.")] = False,
    reuse: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN", help="Copy stages with the same inputs from this run or folder of runs; repeatable."
        ),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="ORG/NAME", help="Publish the result in this Hub repository; sets publish.repo_id."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Prune, quantize, export and measure a model as a recipe says. Stages that are up to date are skipped."""
    if push is not None and not lazy.is_repository(push):
        raise UsageError(f"--push: '{push}' is not a repository name: write ORG/NAME")
    set_ += [f"publish.repo_id={push}"] if push else []
    report = optkit.run(recipe, set_, output=output, stop_after=stop_after, fresh=fresh, reuse=reuse or (), quiet=quiet)
    if as_json:
        print(json.dumps(report, indent=2))
    elif "evaluate" in report:
        _show(report)
    else:
        print(f"stopped after {report['stopped_after']}: {report['output']}")
    optkit.enforce_max_drop(report)


def _show(report: dict) -> None:
    console, found = wide_console(), lazy.parse_report(report)
    console.print(lazy.report_table(found))
    console.print(found.verdict)
    if advised := lazy.precision_advice(found.evaluate.precision, found.evaluate.metric):
        console.print(f"{advised}.")
    where = {"pruned": "plain checkpoint", "compact": "compacted", "openvino": "OpenVINO IR"}
    for name, what in where.items():
        if name not in report["folders"]:
            continue
        console.print(f"{what + ':':18} {report['folders'][name]}")
    console.print(f"{'model card:':18} {report['folders']['openvino']}/README.md")
    console.print(f"{'report:':18} {report['output']}/report.html")
