"""`optkit bench`: a model on real engines, on the same inputs, by turns."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from optkit.cli.options import Debug, Json
from optkit.errors import RecipeError


def command(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Runs, checkpoints, IRs, ONNX models, or Hub ids.", show_default=False),
    ],
    backends: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Of torch, openvino, optkit and others, see docs/bench.md; all that can run soon."
        ),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,N", help="Batch sizes.")] = "1",
    seq: Annotated[
        str | None, typer.Option(metavar="N,N", help="Tokens; 128 unless the model takes fewer. Cuts --texts.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Of each engine; one a physical core.")] = None,
    streams: Annotated[int | None, typer.Option(help="Inferences at once in throughput; the engine's choice.")] = None,
    mode: Annotated[
        Literal["latency", "throughput"], typer.Option(help="One inference at a time, or many in flight.")
    ] = "latency",
    duration: Annotated[float, typer.Option(help="Seconds of each engine at each shape.")] = 5.0,
    texts: Annotated[Path | None, typer.Option(metavar="FILE", help="Texts to feed, one a line.")] = None,
    against: Annotated[
        str | None, typer.Option(metavar="BACKEND", help="What ratios are against; openvino, or the first named.")
    ] = None,
    loads: Annotated[bool, typer.Option(help="Measure load time and memory too.")] = True,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a chart, as SVG.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure latency or throughput of a model on real engines, and compare them."""
    from optkit.benchmark.asked import Asked
    from optkit.benchmark.bench import bench
    from optkit.progress import Reporter

    if plot is not None and not plot.absolute().parent.is_dir():
        raise RecipeError(f"--plot: there is no folder {plot.parent}")
    if plot is not None and plot.is_dir():
        raise RecipeError(f"--plot: {plot} is a folder: name a file in it")
    asked = Asked(
        backends=tuple(backends.split(",")) if backends else (),
        batch=_numbers("--batch", batch),
        seq=_numbers("--seq", seq) if seq else (),
        threads=threads,
        streams=streams,
        mode=mode,
        duration=duration,
        texts=texts,
        against=against,
        loads=loads,
    )
    report = bench(paths, asked, command=shlex.join(["optkit", *sys.argv[1:]]), reporter=Reporter())
    if plot is not None:
        from optkit.benchmark.plot import chart
        from optkit.cli.console import write_chart

        write_chart(plot, chart(report))
    if as_json:
        print(json.dumps(report, indent=1))
    else:
        _show(report)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise RecipeError(f"{option}: '{text}' is no list of numbers such as 1,8") from None


def _show(report: dict[str, Any]) -> None:
    from optkit.benchmark.tables import lines, load_table, shape_table
    from optkit.cli.console import wide_console

    console = wide_console()
    for shape in report["shapes"]:
        console.print(shape_table(report, shape))
    if any(model.get("load") for model in report["models"]):
        console.print(load_table(report))
    for line in lines(report):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
