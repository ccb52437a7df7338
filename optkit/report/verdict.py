"""The verdict: one sentence on zeros, accuracy and speed, of measured figures alone.

Where there is no gain it says so, and why as far as the run knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optkit.report.precision import HINT, HINTED, needs_hint
from optkit.report.reasons import reasons
from optkit.report.speed import Speedup, engine, inputs, speedup, times
from optkit.report.words import baseline, counted, sparse_layers, thread_words

#: As many as a sentence bears; all of them stand with the latencies.
_REASONS = 2


def verdict(report: Mapping[str, Any]) -> str:
    """One sentence, for the terminal, report.md, report.html and the card alike."""
    said = f"{_zeros(report)}, {lost(report)}, and {_speed(report)}."
    return said[0].upper() + said[1:]


def _zeros(report: Mapping[str, Any]) -> str:
    if not sparse_layers(report):
        return "no weights are pruned"
    shares = counted(report)["denominators"]
    for name, of in (("encoder_linear", "the encoder's weights"), ("linear", "the linear layers' weights")):
        if shares.get(name) is not None:
            return f"{100 * shares[name]['sparsity']:.1f} % of {of} are zero"
    return f"{100 * shares['all']['sparsity']:.1f} % of all parameters are zero"


def lost(report: Mapping[str, Any]) -> str:
    """What the exported model lost, and whether that is allowed."""
    evaluated = report["evaluate"]
    drop, limit, metric = evaluated["drop"], evaluated["max_drop"], evaluated["metric"]
    if drop is None:
        return f"there is no baseline to compare {metric} with"
    side = "below" if drop >= 0 else "above"
    said = f"{metric} is {abs(drop):.2f} points {side} the {baseline(report)}"
    if round(abs(drop), 2) == 0:
        said = f"{metric} is that of the {baseline(report)}"
    said += _elsewhere(evaluated)
    if limit is None:
        return said
    allows = f"max_drop allows {limit:g}"
    return f"{said} ({allows})" if evaluated["within_max_drop"] else f"{said} (TOO MUCH: {allows})"


def _elsewhere(evaluated: Mapping[str, Any]) -> str:
    """Where the drop is that of one way to serve the model, what it is in the others."""
    first = next(iter(evaluated["splits"].values()))
    judged, metric = evaluated.get("judged", ""), evaluated["metric"]
    if judged.endswith("optkit"):
        return " on optkit's runtime"
    if not needs_hint(evaluated):
        return ""
    others = {f"with {HINT}": f"{judged}{HINTED}", "on optkit's runtime": "int8 optkit"}
    said = [
        f"{100 * (first['dense'][metric] - first[name][metric]):.2f} {where}"
        for where, name in others.items()
        if name in first
    ]
    return f" in OpenVINO at its default precision ({evaluated['precision']['default']}), and {' and '.join(said)}"


def _speed(report: Mapping[str, Any]) -> str:
    if not report["benchmark"]:
        return "speed was not measured"
    found = speedup(report["benchmark"])
    if found is None:
        return _alone(report)
    against = f"as fast as {reference_of(report, found)} {_where(report, found.inputs)}"
    figures = f"{times(found.ratio)} times {interval(report, found)}"
    if found.gains:
        noise = ", though times scattered too widely to be sure" if found.noisy else ""
        return f"{_runs(found.of)} it answers {figures} {against}{_over_plain(found)}{noise}"
    low, high = found.interval or (found.ratio, found.ratio)
    kind = "slower" if high < 1 else "no faster" if found.interval is None else "not measurably faster"
    why = reasons(report, found)
    because = f": {'; '.join(why[:_REASONS])}" if why else ", and what was measured does not say why"
    return f"{_runs(found.of)} it is {kind}, {figures} {against}{because}"


def _over_plain(found: Speedup) -> str:
    """The same against the other reference: this model without optkit's runtime."""
    if found.over_plain is None:
        return ""
    kind = "int8 model" if found.of.startswith("int8") else "model"
    return f", {times(found.over_plain[0])} times as fast as this {kind} in plain OpenVINO"


def _alone(report: Mapping[str, Any]) -> str:
    for row in report["benchmark"]["rows"]:
        for name, milliseconds in row["milliseconds"].items():
            if not name.startswith(("dense", "pruned", "compact")):
                where = _where(report, inputs(row))
                return f"{_runs(name)} it answers in {milliseconds:.2f} ms {where}, with no dense model's time beside"
    return "speed was not measured"


def reference_of(report: Mapping[str, Any], found: Speedup) -> str:
    """What a speedup is against, in words."""
    kind, _, runtime = found.against.partition(" ")
    if kind != "dense":
        return f"`{found.against}`"
    model = "the dense model" if report["training"]["rules"] else "the baseline"
    return f"{model} in {openvino(found.precision) if runtime == 'openvino' else 'PyTorch'}"


def openvino(precision: str | None) -> str:
    """OpenVINO at a precision, as a reference is named; None where it is not known."""
    if precision is None:
        return "OpenVINO"
    return "OpenVINO fp32" if precision == "f32" else f"OpenVINO at its default precision ({precision})"


def interval(report: Mapping[str, Any], found: Speedup) -> str:
    """How sure a speedup is."""
    if found.interval is None:
        return f"(medians of {report['benchmark']['rounds']} rounds)"
    low, high = found.interval
    return f"(95 % interval {times(low)} to {times(high)})"


def _runs(name: str) -> str:
    if name.endswith("optkit"):
        return "on optkit's runtime"
    return f"in {engine(name).rpartition(', ')[2]}"


def _where(report: Mapping[str, Any], shape: str) -> str:
    return f"on {report['machine']['cpu']}, {thread_words(report['benchmark']['threads'])}, {shape}"
