"""`optkit inspect`: how sparse a checkpoint, an IR or a run is, layer by layer and by the four denominators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optkit.cli.options import Debug, Json

if TYPE_CHECKING:
    from rich.table import Table

    from optkit.sparsity import Report

ModelPath = Annotated[
    Path,
    typer.Argument(metavar="PATH", help="A checkpoint folder, an OpenVINO IR or a run folder.", show_default=False),
]

_MEANING = {
    "encoder_linear": "linear weights of the encoder",
    "linear": "all linear weights",
    "matmul_conv": "all matmul and convolution weights",
    "all": "all parameters",
}


def command(path: ModelPath, as_json: Json = False, debug: Debug = False) -> None:
    """Show how sparse a checkpoint, an IR or a run is, layer by layer."""
    from optkit.sparsity import sparsity

    report = sparsity(path)
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 140)  # a pipe or file has no width: do not break the layers' names
    console.print(_layer_table(report))
    console.print()
    console.print(_denominator_table(report))
    for note in report.notes:
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False)


def _layer_table(report: Report) -> Table:
    from rich.table import Table

    table = Table("layer", "shape", "structure", box=None, pad_edge=False, header_style="bold")
    for heading in ("sparsity", "blocks", "int8"):
        table.add_column(heading, justify="right")
    table.columns[0].overflow = "fold"
    for layer in report.layers:
        before_int8 = layer.sparsity if layer.tagged_sparsity is None else layer.tagged_sparsity
        blocks = layer.block_sparsity if "x" in layer.structure else None
        shares = [before_int8, blocks, layer.int8_sparsity]
        table.add_row(layer.name, "x".join(map(str, layer.shape)), layer.structure, *map(_percent, shares))
    return table


def _denominator_table(report: Report) -> Table:
    from rich.table import Table

    table = Table("zeros as stored", box=None, pad_edge=False, header_style="bold")
    for heading in ("zeros", "of", "sparsity"):
        table.add_column(heading, justify="right")
    for name, counted in report.denominators.items():
        cells = (f"{counted['zeros']:,}", f"{counted['size']:,}", _percent(counted["sparsity"])) if counted else ()
        table.add_row(f"{_MEANING[name]} ({name})", *(cells or ("unknown",)))
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"
