"""`optkit quantize`: a model that somebody else pruned, or nobody, as an int8 IR that says how sparse it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import optkit
from optkit.cli.console import wide_console
from optkit.cli.inspect import layer_table
from optkit.cli.options import Debug, Json
from optkit.deprecation import FormerSpelling, warn_once
from optkit.errors import UsageError
from optkit.progress import Reporter
from optkit.quantization.config import FORMER_TARGETS

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A checkpoint or adapter (Hub id or folder), an ONNX model or an fp32 IR (file or folder).",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="FILE_OR_DATASET", help="Texts to calibrate with: a file, or a dataset on the Hub.", show_default=False
    ),
]
Text = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="The column of the texts; give it twice for pairs.", show_default=False),
]


def command(
    model: Model,
    data: Data = None,
    text: Text = None,
    output: Annotated[Path | None, typer.Option(help="Output folder, empty or new. Default: NAME-int8.")] = None,
    weight_range: Annotated[
        str | None,
        typer.Option(
            metavar="RANGE",
            help="Range of int8 that weights use: half, the default, is right on every CPU; full needs VNNI, AMX or "
            "optkit's runtime.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(hidden=True)] = None,
    samples: Annotated[int, typer.Option(min=1, help="Number of texts to calibrate with.")] = 300,
    max_length: Annotated[int, typer.Option(min=2, help="Length in tokens at which texts are cut.")] = 128,
    task: Annotated[
        str | None, typer.Option(help="The task, such as text-classification. Default: read from config.json.")
    ] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit, if MODEL is on the Hub.")] = "main",
    seed: Annotated[int, typer.Option(min=0, help="Seed for the choice of texts.")] = 42,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Quantize a pruned model to int8 and keep its zeros. Each layer is tagged with its structure and sparsity."""
    result = optkit.quantize(
        model,
        data=data,
        text=text or (),
        output=output,
        weight_range=_weight_range(weight_range, target),
        samples=samples,
        max_length=max_length,
        task=task,
        revision=revision,
        seed=seed,
        reporter=Reporter(quiet=as_json),
    )
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
        return
    console = wide_console()
    console.print(layer_table(optkit.sparsity(result.output)))
    console.print()
    for line in (result.structure, *result.notes, f"{result.output}: load it with {result.ov_class}"):
        console.print(line)


def _weight_range(weight_range: str | None, target: str | None) -> str:
    """The weight range of the command line, where ``--target`` is its former name."""
    if target is None:
        return weight_range or "half"
    if weight_range is not None:
        raise UsageError("--target is the former name of --weight-range: remove --target")
    if target not in FORMER_TARGETS:
        raise UsageError(f"--target {target}: unknown value: write --weight-range half or --weight-range full")
    warn_once(f"--target {target} is deprecated: write --weight-range {FORMER_TARGETS[target]}", FormerSpelling)
    return FORMER_TARGETS[target]
