"""`optkit bake`: an IR with packed weights in our operations, for any program that loads the extension."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import optkit
from optkit.cli.options import Debug, Json
from optkit.progress import size

if TYPE_CHECKING:
    from optkit.runtime.baking import Baked

Source = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder with openvino_model.xml, or a run folder.", show_default=False)
]
Output = Annotated[Path, typer.Option("--output", help="Output folder, empty or new.", show_default=False)]
PlanMode = Annotated[
    str,
    typer.Option(
        "--plan",
        metavar="MODE",
        help="Choose kernels by a cost model (static) or by measuring on this machine (measured).",
    ),
]
Isa = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Instruction set that a static plan is for. Default: that of this CPU."),
]


def command(
    source: Source,
    output: Output,
    plan: PlanMode = "static",
    isa: Isa = None,
    batch: Annotated[int, typer.Option(min=1, help="Batch size to optimize for.")] = 1,
    seq: Annotated[int, typer.Option(min=1, help="Sequence length to optimize for.")] = 128,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Pack the sparse layers of an OpenVINO IR for the sparse runtime. Config and tokenizer are copied."""
    folder = source / "openvino" if (source / "openvino" / "openvino_model.xml").is_file() else source
    baked = optkit.bake(folder, output, plan=plan, isa=isa, shape=(batch, seq))
    facts = _facts(baked)
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    count = len(baked.rewrite.programs)
    print(f"{baked.plan.reason}, in {count} program{'s' if count > 1 else ''}")
    for layer, why in facts["left_out"].items():
        print(f"not baked: {layer}: {why}")
    print(f"{facts['output']}: {size(baked.bytes_after)}, the portable IR has {size(baked.bytes_before)}")


def _facts(baked: Baked) -> dict:
    return {
        "output": str(baked.xml.parent),
        "bytes": {"portable": baked.bytes_before, "baked": baked.bytes_after},
        "programs": len(baked.rewrite.programs),
        "left_out": baked.rewrite.left_out,
        "plan": baked.plan.to_dict(),
    }
