"""`inspect`: how sparse a model is, or how the sparse runtime would run it, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from optkit.counting.result import Report
from optkit.counting.sparsity import sparsity
from optkit.errors import UsageError, why_not
from optkit.export.tvm.index import INDEX
from optkit.export.tvm.report import compiled_sparsity
from optkit.ir.io import find_xml
from optkit.runtime import explain
from optkit.runtime.baking import baked_layers
from optkit.runtime.loading import is_baked

if TYPE_CHECKING:
    from optkit.runtime.planning import Plan
    from optkit.runtime.rewriting.rewrite import Rewrite


@dataclass(frozen=True)
class RuntimeReport:
    """How the sparse runtime runs an IR.

    Attributes:
        path: the IR, as it was given; of a baked IR its xml.
        plan: the kernel of each layer and why; None for a baked IR, whose plan is fixed.
        rewrite: the programs that the layers become, and what is fused with each; None for a baked IR.
        baked: of a baked IR ``program``, ``kernel`` and ``rows`` by layer.
    """

    path: Path
    plan: Plan | None = None
    rewrite: Rewrite | None = None
    baked: dict[str, dict[str, str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        facts: dict[str, Any] = {"path": str(self.path), "baked": self.plan is None}
        if self.plan is None or self.rewrite is None:
            return facts | {"layers": self.baked}
        programs = [
            {
                "name": program.name,
                "layers": list(program.layers),
                "fused": {layer: list(operations) for layer, operations in program.fused.items()},
            }
            for program in self.rewrite.programs
        ]
        more = {"programs": programs, "left_out": self.rewrite.left_out, "notes": self.rewrite.notes}
        return facts | {"plan": self.plan.to_dict()} | more


@overload
def inspect(path: str | Path, *, runtime: Literal[False] = False, plan: str = "measured") -> Report: ...


@overload
def inspect(path: str | Path, *, runtime: Literal[True], plan: str = "measured") -> RuntimeReport: ...


def inspect(path: str | Path, *, runtime: bool = False, plan: str = "measured") -> Report | RuntimeReport:
    """Reports how sparse a model is layer by layer, or how the sparse runtime would run it.

    Args:
        path: a checkpoint folder, an OpenVINO IR, an ONNX model, a run, a sparse folder or one that `optkit compile`
            made; with ``runtime`` an IR, baked or not, or a run.
        runtime: report the kernel of each layer instead of its zeros.
        plan: ``measured`` (on this machine) or ``static`` (by a cost model), with ``runtime`` only.

    Raises:
        UsageError: if there is no such model, or it is baked and ``runtime`` is not set.
        OptkitError: if the model is damaged.
    """
    path = Path(path)
    if runtime:
        return _runtime_report(path, plan)
    if (path / INDEX).is_file():
        return compiled_sparsity(path)
    xml = find_xml(path)
    if xml is not None and is_baked(xml):
        raise UsageError(f"{path}: is baked, its weights are packed: inspect the portable IR, or add --runtime")
    return sparsity(path)


def _runtime_report(path: Path, mode: str) -> RuntimeReport:
    xml = find_xml(path) or find_xml(path / "openvino")
    if xml is None:
        why = why_not(path, "no OpenVINO IR here")
        raise UsageError(f"{path}: {why}: --runtime needs an .xml, a folder with openvino_model.xml, or a run folder")
    if is_baked(xml):
        return RuntimeReport(xml, baked=baked_layers(xml))
    return RuntimeReport(path, *explain(xml, mode))
