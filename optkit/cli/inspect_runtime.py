"""`optkit inspect --runtime`: each linear layer's kernel and why, what is fused with it, and what a baked IR holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from optkit.cli import lazy
from optkit.cli.console import wide_console

if TYPE_CHECKING:
    from optkit.interop.inspect import RuntimeReport
    from optkit.runtime.planning import Plan
    from optkit.runtime.rewriting.rewrite import Rewrite


def show(report: RuntimeReport) -> None:
    """Prints what the sparse runtime makes of an IR."""
    if report.plan is not None and report.rewrite is not None:
        _show_plan(report.plan, report.rewrite)
    else:
        _show_baked(report.baked)


def _show_plan(plan: Plan, rewrite: Rewrite) -> None:
    placed = {layer: each for each in rewrite.programs for layer in each.layers}
    table = lazy.Table(
        "layer", "shape", "program", "fused with it", "why", box=None, pad_edge=False, header_style="bold"
    )
    table.columns[0].overflow = table.columns[3].overflow = table.columns[4].overflow = "fold"
    for layer in plan.layers:
        program = placed.get(layer.matmul)
        why = layer.reason
        if layer.matmul in rewrite.left_out:
            why = f"OpenVINO: {rewrite.left_out[layer.matmul]} ({why})"
        cells = (program.name, ", ".join(program.fused.get(layer.matmul, ()))) if program else ("", "")
        table.add_row(_short(layer.matmul), "x".join(map(str, layer.shape)), *cells, why)
    console = wide_console()
    console.width = console.width if console.is_terminal else max(console.width, 200)
    console.print(table)
    console.print()
    for node, note in rewrite.notes.items():
        console.print(f"{_short(node)}: left to OpenVINO: {note}")
    console.print(plan.reason)


def _show_baked(layers: dict[str, dict[str, str]]) -> None:
    table = lazy.Table("layer", "program", "kernel", "rows", box=None, pad_edge=False, header_style="bold")
    table.columns[0].overflow = "fold"
    for name, facts in layers.items():
        table.add_row(_short(name), *(facts.get(key, "") for key in ("program", "kernel", "rows")))
    console = wide_console()
    console.print(table)
    console.print(f"{len(layers)} linear layers run on the sparse runtime, all others in OpenVINO")


def _short(matmul: str) -> str:
    """The torch module that a MatMul was traced in, where its name tells."""
    match = re.match(r"__module\.([^/]+)/", matmul)
    return match[1] if match else matmul
