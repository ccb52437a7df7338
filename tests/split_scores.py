"""The scores of a report by the names that the arrays of `predictions/` have."""

from __future__ import annotations

from typing import Any

from optkit.variant import migrate_name

_NAMES = ("dense", "pruned", "int8", "int8 f32", "int8 optkit", "int8 onnx")
_NAMES += ("openvino", "openvino f32", "optkit", "onnx")


def split_scores(report: dict[str, Any], split: str = "validation") -> dict[str, Any]:
    """``examples``, ``agreement`` and the scores of one split."""
    found = report["evaluate"]["splits"][split]
    scores = {name: found["scores"][id] for name in _NAMES if (id := migrate_name(name).id) in found["scores"]}
    assert len(scores) == len(found["scores"])
    return {"examples": found["examples"], "agreement": found["agreement"]} | scores
