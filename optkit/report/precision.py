"""Which precision to serve the exported IR with in plain OpenVINO, by what stage `evaluate` found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HINT = "INFERENCE_PRECISION_HINT=f32"
#: Ends the names of what was scored and timed with the hint.
HINTED = " f32"


def needs_hint(evaluated: Mapping[str, Any]) -> bool:
    """Whether the IR is worse at OpenVINO's default precision than in f32, by more than noise."""
    return (evaluated.get("precision") or {}).get("serve") == "f32"


def shown(evaluated: Mapping[str, Any], name: str) -> bool:
    """Whether a model's scores are for a reader: those with the hint are where they differ from those without."""
    return not name.endswith(HINTED) or bool((evaluated.get("precision") or {}).get("differs"))


def advice(evaluated: Mapping[str, Any]) -> str:
    """One sentence; empty for a report of a release that did not look."""
    found = evaluated.get("precision")
    if not found:
        return ""
    default, metric = found["default"], evaluated["metric"]
    if found["difference"] is None:
        return (
            f"Precision: OpenVINO computes in {default} by default on this CPU, as scored here; on CPUs with bf16 it "
            f"computes in that between int8 layers, which was not scored: `{HINT}` keeps f32 there"
        )
    figures = f"{metric} is {abs(found['difference']):.2f} points {'higher' if found['difference'] >= 0 else 'lower'}"
    if round(abs(found["difference"]), 2) == 0:
        figures = f"{metric} is the same"
    error = "" if found["error"] is None else f" (standard error {found['error']:.2f})"
    if found["serve"] == "f32":
        return (
            f"Precision: serve the IR in OpenVINO with `{HINT}`: {figures} than in {default}{error}, which is the "
            "default on this CPU"
        )
    return f"Precision: OpenVINO's default on this CPU, {default}, is fine: with `{HINT}` {figures}{error}"
