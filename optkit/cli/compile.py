"""`optkit compile`: a pruned model as a library that another compiler made, Apache TVM."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

import optkit
from optkit.cli.options import Debug, Json
from optkit.progress import Reporter

Source = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder of a checkpoint, or of a run.", show_default=False)
]


def command(
    source: Source,
    output: Annotated[Path, typer.Option("--output", help="Output folder, empty or new.", show_default=False)],
    to: Annotated[Literal["tvm"], typer.Option(help="The compiler.")] = "tvm",
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET", help="The CPU, as in 'llvm -mcpu=znver4'. Default: this one.", show_default=False
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Batch size of the inputs.")] = 1,
    seq: Annotated[
        list[int] | None,
        typer.Option(
            min=1, metavar="TOKENS", help="Tokens of the inputs; give it again for more lengths. [default: 128]"
        ),
    ] = None,
    tune: Annotated[
        float, typer.Option(min=0, metavar="MINUTES", help="Time to search for schedules on this machine.")
    ] = 0,
    records: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep what tuning finds here, and use what is there.", show_default=False),
    ] = None,
    fast_math: Annotated[
        bool, typer.Option("--fast-math/--no-fast-math", help="Approximate exp, erf and tanh.")
    ] = True,
    dense: Annotated[bool, typer.Option("--dense", help="Multiply by zeros too, to compare with.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Sparse products in int8; needs AVX-512 VNNI.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of tuning and of the inputs to check with.")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compile a pruned model with Apache TVM, its sparse layers as block-sparse products, and check its outputs."""
    compiled = optkit.compile_tvm(
        source,
        output,
        shapes=[(batch, length) for length in dict.fromkeys(seq or [128])],
        target=target,
        minutes=tune,
        records=records,
        fast_math=fast_math,
        sparse=not dense,
        int8=int8,
        seed=seed,
        reporter=Reporter(quiet=as_json),
    )
    if as_json:
        print(compiled.model_dump_json(indent=2))
        return
    forms = Counter(layer.form for layer in compiled.layers.values())
    print(f"{', '.join(f'{count} {form}' for form, count in forms.most_common())} layers, for {compiled.target}")
    rounding = " with numbers rounded alike" if compiled.int8 else ""
    checked = f"outputs equal torch's{rounding}" if target is None else "not run here, as it is for another CPU"
    print(f"{output}: {', '.join(f'{shape.batch} x {shape.seq}' for shape in compiled.shapes)}: {checked}")
