"""`optkit bench`: a model on real engines, on the same inputs, by turns."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import optkit
from optkit.cli import lazy
from optkit.cli.console import wide_console, write_chart
from optkit.cli.options import Debug, Json
from optkit.errors import UsageError
from optkit.progress import Reporter

if TYPE_CHECKING:
    from optkit.benchmark.result import BenchmarkResult


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
    if plot is not None and not plot.absolute().parent.is_dir():
        raise UsageError(f"--plot: there is no folder {plot.parent}")
    if plot is not None and plot.is_dir():
        raise UsageError(f"--plot: {plot} is a folder: name a file in it")
    options = optkit.BenchmarkOptions(
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
    result = lazy.bench_result(paths, options, shlex.join(["optkit", *sys.argv[1:]]), Reporter())
    if plot is not None:
        write_chart(plot, lazy.benchmark_chart(result))
    if as_json:
        print(json.dumps(result.to_dict(), indent=1))
    else:
        _show(result)


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option}: '{text}' is no list of numbers such as 1,8") from None


def _show(result: BenchmarkResult) -> None:
    console = wide_console()
    for shape in result.shapes:
        console.print(lazy.benchmark_table(result, shape))
    if any(model.load for model in result.models):
        console.print(lazy.benchmark_load_table(result))
    for line in lazy.benchmark_lines(result):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
