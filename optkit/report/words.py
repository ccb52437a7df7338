"""What a report's reader knows models and figures by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optkit.report.precision import HINTED, needs_hint

LABELS = {
    "int8": "int8 IR",
    "int8 f32": "int8 IR, f32 hint",
    "int8 optkit": "int8 IR, optkit",
    "int8 onnx": "int8 ONNX",
    "openvino": "fp32 IR",
    "openvino f32": "fp32 IR, f32 hint",
    "optkit": "fp32 IR, optkit",
    "onnx": "fp32 ONNX",
}


def called(report: Mapping[str, Any], name: str) -> str:
    """What a model goes by. Where nothing was pruned here, nothing is said to be dense or pruned: the model may have
    come with its zeros.
    """
    if not report["training"]["rules"] and name in ("dense", "pruned"):
        return {"dense": "baseline", "pruned": "checkpoint"}[name]
    return LABELS.get(name, name)


def baseline(report: Mapping[str, Any]) -> str:
    """What a model's accuracy is compared with."""
    return "dense baseline" if report["training"]["rules"] else "baseline"


def exported(report: Mapping[str, Any]) -> str:
    """What an evaluation calls the exported IR."""
    first = next(iter(report["evaluate"]["splits"].values()))
    return next((name for name in ("int8", "openvino") if name in first), "int8")


def served(report: Mapping[str, Any]) -> str:
    """What an evaluation calls the exported IR as it is to be served: on the runtime that it was made for, or in
    OpenVINO at the precision that it needs.
    """
    judged = report["evaluate"].get("judged") or exported(report)
    hinted = needs_hint(report["evaluate"]) and not judged.endswith("optkit")
    return judged + (HINTED if hinted else "")


def counted(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """Zeros as they were counted in the checkpoint, where int8 has rounded nothing yet."""
    return report["sparsity"].get("pruned") or report["sparsity"]["openvino"]


def sparse_layers(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every layer as it was counted, if any of them is sparse."""
    layers = counted(report)["layers"]
    return layers if any(layer["structure"] != "dense" for layer in layers) else []


def thread_words(count: int) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{count} thread{'s' * (count != 1)}"
