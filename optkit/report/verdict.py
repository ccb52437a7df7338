"""The verdict: one sentence on zeros, accuracy and speed, from measured figures only.

Where there is no gain it gives the reasons that the run knows.
"""

from __future__ import annotations

from optkit.progress import thread_count
from optkit.report.explanations import explanations
from optkit.report.figures import Evaluation
from optkit.report.labels import baseline_name, judged_variant
from optkit.report.precision import HINT, needs_hint
from optkit.report.schema import Facts
from optkit.report.speed import Speedup, ratio_text, speedup
from optkit.variant import Variant

#: Reasons in the sentence, at most; the section on latency has all of them.
_EXPLANATIONS = 2


def verdict(facts: Facts) -> str:
    """One sentence, for the terminal, report.md, report.html and the card alike."""
    said = f"{_zeros(facts)}, {accuracy_change(facts)}, and {_speed(facts)}."
    return said[0].upper() + said[1:]


def _zeros(facts: Facts) -> str:
    if not facts.sparse_layers:
        return "no weights are pruned"
    shares = facts.checkpoint_sparsity.denominators
    kinds = {"encoder_linear": "the encoder's weights", "linear": "the linear layers' weights", "all": "all parameters"}
    for name, kind in kinds.items():
        if (share := shares.get(name)) is not None:
            return f"{100 * share.sparsity:.1f} % of {kind} are zero"
    return "some layers have zeros"


def accuracy_change(facts: Facts) -> str:
    """The loss of the exported model, and whether it is allowed."""
    evaluated = facts.evaluate
    drop, limit, metric = evaluated.drop, evaluated.max_drop, evaluated.metric
    if drop is None:
        return f"there is no baseline to compare {metric} with"
    side = "below" if drop >= 0 else "above"
    said = f"{metric} is {abs(drop):.2f} points {side} the {baseline_name(facts)}"
    if round(abs(drop), 2) == 0:
        said = f"{metric} is that of the {baseline_name(facts)}"
    said += _where_judged(evaluated)
    if limit is None:
        return said
    allows = f"max_drop allows {limit:g}"
    return f"{said} ({allows})" if evaluated.within_max_drop else f"{said} (TOO MUCH: {allows})"


def _where_judged(evaluated: Evaluation) -> str:
    """The engine and precision that the drop is of, and the drop with others."""
    judged, metric = judged_variant(evaluated), evaluated.metric
    if judged.engine == "optkit":
        return " on optkit's runtime"
    baseline = evaluated.baseline_scores
    if not needs_hint(evaluated) or evaluated.precision is None or baseline is None:
        return ""
    others = {f"with {HINT}": judged.hinted(), "on optkit's runtime": judged.on("optkit")}
    said = [
        f"{100 * (baseline[metric] - evaluated.first[variant][metric]):.2f} {where}"
        for where, variant in others.items()
        if variant in evaluated.first
    ]
    return f" in OpenVINO at its default precision ({evaluated.precision.default}), and {' and '.join(said)}"


def _speed(facts: Facts) -> str:
    if not facts.benchmark:
        return "speed was not measured"
    found = speedup(facts.benchmark)
    if found is None:
        return _time_alone(facts)
    against = f"as fast as {reference_name(facts, found)} {_where(facts, found.inputs)}"
    figures = f"{ratio_text(found.ratio)} times {_certainty(facts, found)}"
    if found.gains:
        noise = ", though times scattered too widely to be sure" if found.noisy else ""
        return f"{_on(found.of)} it answers {figures} {against}{_over_plain(found)}{noise}"
    _, high = found.interval or (found.ratio, found.ratio)
    kind = "slower" if high < 1 else "no faster" if found.interval is None else "not measurably faster"
    why = explanations(facts, found)
    because = f": {'; '.join(why[:_EXPLANATIONS])}" if why else ", and what was measured does not say why"
    return f"{_on(found.of)} it is {kind}, {figures} {against}{because}"


def _over_plain(found: Speedup) -> str:
    """The same against the other reference: this model without optkit's runtime."""
    if found.over_plain is None:
        return ""
    kind = f"{found.of.model_label} model" if found.of.quantized else "model"
    return f", {ratio_text(found.over_plain[0])} times as fast as this {kind} in plain OpenVINO"


def _time_alone(facts: Facts) -> str:
    for shape in facts.benchmark.shapes if facts.benchmark else ():
        for variant, milliseconds in shape.milliseconds.items():
            if variant.exported:
                where = _where(facts, shape.inputs)
                return f"{_on(variant)} it answers in {milliseconds:.2f} ms {where}, with no dense model's time beside"
    return "speed was not measured"


def reference_name(facts: Facts, found: Speedup) -> str:
    """The name of the reference in a sentence."""
    if found.against.model != "dense":
        return f"`{found.against.label}`"
    model = "the dense model" if facts.prunes else "the baseline"
    return f"{model} in {openvino_at(found.precision) if found.against.engine == 'openvino' else 'PyTorch'}"


def openvino_at(precision: str | None) -> str:
    """OpenVINO at a precision, as a reference is named; None where it is not known."""
    if precision is None:
        return "OpenVINO"
    return "OpenVINO fp32" if precision == "f32" else f"OpenVINO at its default precision ({precision})"


def _certainty(facts: Facts, found: Speedup) -> str:
    """The interval of a speedup, or the number of rounds behind it."""
    if found.interval is None:
        return f"(medians of {facts.benchmark.rounds if facts.benchmark else 0} rounds)"
    low, high = found.interval
    return f"(95 % interval {ratio_text(low)} to {ratio_text(high)})"


def _on(variant: Variant) -> str:
    return "on optkit's runtime" if variant.engine == "optkit" else f"in {variant.engine_label}"


def _where(facts: Facts, inputs: str) -> str:
    threads = facts.benchmark.threads if facts.benchmark else 1
    return f"on {facts.machine.cpu}, {thread_count(threads)}, {inputs}"
