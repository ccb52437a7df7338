"""The names of models and figures in a report."""

from __future__ import annotations

from optkit.report.figures import Evaluation
from optkit.report.precision import needs_hint
from optkit.report.schema import Facts
from optkit.variant import DENSE, PRUNED, Variant

_FORMATS = {"onnxruntime": "ONNX"}
#: Suffixes for engines that run the same exported file.
_SUFFIXES = {"optkit": ", optkit"}


def display_name(facts: Facts, variant: Variant) -> str:
    """The name of a scored model, such as ``int8 IR, optkit``."""
    if variant in (DENSE, PRUNED):
        return dense_as_baseline(facts, variant.model)
    if not variant.exported:
        return variant_label(facts, variant)
    kind = variant.model_label if variant.quantized else "fp32"
    way = ", f32 hint" if variant.f32_hint else _SUFFIXES.get(variant.engine, "")
    return f"{kind} {_FORMATS.get(variant.engine, 'IR')}{way}"


def variant_label(facts: Facts, variant: Variant) -> str:
    """The name of a timed model and its engine, such as ``int8, OpenVINO``."""
    return dense_as_baseline(facts, variant.label)


def dense_as_baseline(facts: Facts, label: str) -> str:
    """``label``; without the words dense and pruned where the run pruned nothing: the model may have had zeros."""
    return label if facts.prunes else label.replace("dense", "baseline").replace("pruned", "checkpoint")


def baseline_name(facts: Facts) -> str:
    """The name of the model that accuracy is compared with."""
    return "dense baseline" if facts.prunes else "baseline"


def exported_variant(evaluated: Evaluation) -> Variant:
    """The exported IR in plain OpenVINO, as it was scored; else whatever was scored last."""
    scored = list(evaluated.first)
    return next((own for own in scored if own.exported and own.engine == "openvino" and not own.f32_hint), scored[-1])


def judged_variant(evaluated: Evaluation) -> Variant:
    """The exported model that ``drop`` is of."""
    return evaluated.judged or exported_variant(evaluated)


def served_variant(evaluated: Evaluation) -> Variant:
    """The exported IR as it is to be served: on the runtime that it was made for, or in OpenVINO at the precision that
    it needs.
    """
    judged = judged_variant(evaluated)
    return judged.hinted() if needs_hint(evaluated) and judged.engine != "optkit" else judged
