"""The scores of a report, and the outputs that a run keeps, by short names of the models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from optkit.variant import migrate_name

_NAMES = ("dense", "pruned", "int8", "int8 f32", "int8 optkit", "int8 onnx")
_NAMES += ("openvino", "openvino f32", "optkit", "onnx")


def split_scores(report: dict[str, Any], split: str = "validation") -> dict[str, Any]:
    """``examples``, ``agreement`` and the scores of one split."""
    found = report["evaluate"]["splits"][split]
    scores = {name: found["scores"][id] for name in _NAMES if (id := migrate_name(name).id) in found["scores"]}
    assert len(scores) == len(found["scores"])
    return {"examples": found["examples"], "agreement": found["agreement"]} | scores


def kept_outputs(folder: Path, split: str = "validation") -> dict[str, Any]:
    """The outputs of every model that the run in ``folder`` keeps, by the same names, and ``labels`` if there are any."""
    found = load_file(folder / "predictions" / f"{split}.safetensors")
    labels = {"labels": found.pop("labels")} if "labels" in found else {}
    named = {name: found[id] for name in _NAMES if (id := migrate_name(name).id) in found}
    assert len(named) == len(found)
    return named | labels
