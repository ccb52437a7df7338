"""Which precision to serve the exported IR with in plain OpenVINO, by what stage `evaluate` found."""

from __future__ import annotations

from optkit.report.figures import Evaluation, Precision
from optkit.variant import Variant

HINT = "INFERENCE_PRECISION_HINT=f32"


def needs_hint(evaluated: Evaluation) -> bool:
    """Whether the IR is worse at OpenVINO's default precision than in f32, by more than noise."""
    return evaluated.precision is not None and evaluated.precision.serve == "f32"


def is_shown(evaluated: Evaluation, variant: Variant) -> bool:
    """Whether a model's scores are shown: those with the hint are where they differ from those without."""
    return not variant.f32_hint or (evaluated.precision is not None and evaluated.precision.differs)


def advice(found: Precision | None, metric: str) -> str:
    """One sentence; empty for reports of releases that did not compare precisions."""
    if found is None:
        return ""
    if found.difference is None:
        return (
            f"Precision: OpenVINO computes in {found.default} by default on this CPU, as scored here; on CPUs with "
            f"bf16 it computes in that between int8 layers, which was not scored: `{HINT}` keeps f32 there"
        )
    figures = f"{metric} is {abs(found.difference):.2f} points {'higher' if found.difference >= 0 else 'lower'}"
    if round(abs(found.difference), 2) == 0:
        figures = f"{metric} is the same"
    error = "" if found.error is None else f" (standard error {found.error:.2f})"
    if found.serve == "f32":
        return (
            f"Precision: serve the IR in OpenVINO with `{HINT}`: {figures} than in {found.default}{error}, which is "
            "the default on this CPU"
        )
    return f"Precision: OpenVINO's default on this CPU, {found.default}, is fine: with `{HINT}` {figures}{error}"
