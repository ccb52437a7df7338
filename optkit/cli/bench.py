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
from optkit.cli.options import Debug, Json, Plot
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
            metavar="A,B",
            help="Engines, such as torch,openvino,optkit; see docs/bench.md. Default: all installed but torch-compile.",
        ),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N,N", help="Batch sizes.")] = "1",
    seq: Annotated[
        str | None,
        typer.Option(
            metavar="N,N",
            help="Sequence lengths in tokens, also for --texts. Default: 128, or less if the model takes less.",
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of each engine. Default: one for each physical core.")
    ] = None,
    streams: Annotated[
        int | None, typer.Option(help="Parallel inferences with --mode throughput. Default: as each engine chooses.")
    ] = None,
    mode: Annotated[
        Literal["latency", "throughput"], typer.Option(help="Time one inference at a time, or many in parallel.")
    ] = "latency",
    duration: Annotated[float, typer.Option(help="Seconds to measure each engine at each shape.")] = 5.0,
    texts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Use the texts of this file, one on each line, instead of random tokens."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="BACKEND",
            help="The engine that others are compared with. Default: the first of --backends, or openvino.",
        ),
    ] = None,
    loads: Annotated[bool, typer.Option(help="Also measure load time and memory.")] = True,
    plot: Plot = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure the latency or throughput of models on several engines."""
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
    if as_json:
        print(json.dumps(result.to_dict(), indent=1))
    else:
        _show(result)
    if plot is not None:  # last: what was measured is told even where the chart cannot be written
        write_chart(plot, lazy.benchmark_chart(result))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option}: '{text}' is not a list of numbers, such as 1,8") from None


def _show(result: BenchmarkResult) -> None:
    console = wide_console()
    for shape in result.shapes:
        console.print(lazy.benchmark_table(result, shape))
    if any(model.load for model in result.models):
        console.print(lazy.benchmark_load_table(result))
    for line in lazy.benchmark_lines(result):
        console.print(line)
