"""`optkit inspect`: how sparse a checkpoint, an IR or a run is, layer by layer and by the four denominators.

With --runtime: what the sparse runtime makes of an IR, layer by layer, and why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import optkit
from optkit.cli import lazy
from optkit.cli.console import wide_console
from optkit.cli.inspect_runtime import show
from optkit.cli.options import Debug, Json

if TYPE_CHECKING:
    from rich.table import Table

    from optkit.counting.result import Layer, Report

ModelPath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="A checkpoint folder, an OpenVINO IR, an ONNX model, a run, a sparse folder or a compiled model.",
        show_default=False,
    ),
]
Runtime = Annotated[bool, typer.Option("--runtime", help="Show the sparse runtime's kernel for each layer, and why.")]
PlanMode = Annotated[
    str,
    typer.Option(
        "--plan",
        metavar="MODE",
        help="With --runtime: choose kernels by measuring on this machine (measured) or by a cost model (static).",
    ),
]

_MEANING = {
    "encoder_linear": "linear weights of the encoder",
    "linear": "all linear weights",
    "matmul_conv": "all matmul and convolution weights",
    "all": "all parameters",
}


def command(
    path: ModelPath,
    runtime: Runtime = False,
    plan: PlanMode = "measured",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show how sparse a model is, layer by layer. With --runtime, show how the sparse runtime runs each layer."""
    report = optkit.inspect(path, runtime=runtime, plan=plan)
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    if isinstance(report, lazy.RuntimeReport):
        show(report)
        return
    console = wide_console()
    console.print(layer_table(report))
    console.print()
    console.print(_denominator_table(report))
    for note in report.notes:
        console.print(f"note: {note}", style="yellow")


def layer_table(report: Report) -> Table:
    table = lazy.Table("layer", "shape", "structure", box=None, pad_edge=False, header_style="bold")
    for heading in ("sparsity", "blocks", "int8"):
        table.add_column(heading, justify="right")
    table.columns[0].overflow = "fold"
    for layer in report.layers:
        before_int8 = layer.sparsity if layer.tagged_sparsity is None else layer.tagged_sparsity
        blocks = layer.block_sparsity if "x" in layer.structure else None
        shares = [before_int8, blocks, layer.int8_sparsity]
        table.add_row(layer.name, _shape(layer), layer.structure, *map(_percent, shares))
    return table


def _shape(layer: Layer) -> str:
    """``8x32``, and of what compaction left that."""
    former = f" of {'x'.join(map(str, layer.original_shape))}" if layer.original_shape else ""
    return "x".join(map(str, layer.shape)) + former


def _denominator_table(report: Report) -> Table:
    table = lazy.Table("zeros as stored", box=None, pad_edge=False, header_style="bold")
    for heading in ("zeros", "of", "sparsity"):
        table.add_column(heading, justify="right")
    for name, counts in report.denominators.items():
        cells = (f"{counts['zeros']:,}", f"{counts['size']:,}", _percent(counts["sparsity"])) if counts else ()
        table.add_row(f"{_MEANING[name]} ({name})", *(cells or ("unknown",)))
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"
