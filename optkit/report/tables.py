"""The tables of a report: the same cells on the terminal, in report.md, in report.html and in the model card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optkit.progress import duration, size
from optkit.report.precision import shown
from optkit.report.render.blocks import Table
from optkit.report.speed import engine, inputs, ratios, reference, span
from optkit.report.words import called, exported

HEADER = ("model", "metric", "sparsity", "on disk", "latency")
#: What an evaluation calls a model, the folder it lies in, and the engine that was timed on it.
_MODELS = (
    ("dense", "dense", "dense torch"),
    ("pruned", "pruned", "pruned torch"),
    ("int8", "openvino", "int8 openvino"),
    ("int8 f32", "openvino", "int8 openvino f32"),
    ("int8 optkit", "openvino", "int8 optkit"),
    ("int8 onnx", "onnx", "int8 onnx"),
    ("openvino", "openvino", "openvino"),
    ("openvino f32", "openvino", "openvino f32"),
    ("optkit", "openvino", "optkit"),
    ("onnx", "onnx", "onnx"),
)


def headline(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Rows of (model, metric on each split, encoder sparsity, bytes, latency) for dense, pruned and exported.

    The exported model has more than one where it was also run on the sparse runtime, and where OpenVINO's precision
    makes a difference.
    """
    evaluated = report["evaluate"]
    rows = []
    for name, folder, timed in _MODELS:
        scores = {split: found[name] for split, found in evaluated["splits"].items() if name in found}
        if not scores or not shown(evaluated, name):
            continue
        metric = ", ".join(f"{100 * score[evaluated['metric']]:.2f} {split}" for split, score in scores.items())
        found = report["sparsity"].get(folder)
        share = _percent(found["denominators"]["encoder_linear"]) if found else "-"
        held = report["bytes"].get(folder)
        rows.append(
            (called(report, name), metric, share, size(held) if held else "-", _latency(report["benchmark"], timed))
        )
    return rows


def _percent(denominator: Mapping[str, Any] | None) -> str:
    return "-" if denominator is None else f"{denominator['sparsity']:.2%}"


def _latency(benchmark: Mapping[str, Any] | None, timed: str) -> str:
    rows = [row for row in (benchmark or {}).get("rows", []) if timed in row["milliseconds"]]
    return f"{rows[0]['milliseconds'][timed]:.2f} ms" if rows else "-"


def overview(report: Mapping[str, Any]) -> Table:
    """The headline as a table."""
    rows = headline(report)
    return Table((HEADER[0], report["evaluate"]["metric"], *HEADER[2:]), rows, strong=range(len(rows))[-1:])


def scores(report: Mapping[str, Any], name: Callable[[str], str] | None = None) -> Table:
    """Every score of every model in points of 100, with its 95 % interval where it has one, and what was lost.

    Args:
        report: with its conclusions.
        name: what a reader knows a model by; ``called`` by default.
    """
    splits, headed = report["evaluate"]["splits"], report["evaluate"]["metric"]
    scored = {model for found in splits.values() for model, each in found.items() if isinstance(each, dict)}
    order = [model for model, *_ in _MODELS if model in scored]
    order += sorted(scored - set(order))
    order = [model for model in order if shown(report["evaluate"], model)]
    header, columns = ["model"], []
    for split, found in splits.items():
        for metric in found[exported(report)]:
            header.append(f"{metric}, {split} ({found['examples']:,})")
            columns.append(lambda model, split=split, metric=metric: _score(report, split, model, metric))
            if metric == headed and "dense" in found:
                header.append(f"lost, {split}")
                columns.append(lambda model, found=found: _lost(found, model, headed))
    rows = [
        ((name or (lambda model: called(report, model)))(model), *(column(model) for column in columns))
        for model in order
    ]
    return Table(header, rows)


def _score(report: Mapping[str, Any], split: str, model: str, metric: str) -> str:
    score = report["evaluate"]["splits"][split].get(model, {}).get(metric)
    if score is None:
        return "-"
    ends = report["intervals"].get(split, {}).get(model, {}).get(metric)
    return f"{100 * score:.2f}" + (f" ({100 * ends[0]:.2f} to {100 * ends[1]:.2f})" if ends else "")


def _lost(found: Mapping[str, Any], model: str, metric: str) -> str:
    if model == "dense" or model not in found:
        return "-"
    return f"{100 * (found['dense'][metric] - found[model][metric]):.2f}"


def latency(report: Mapping[str, Any]) -> Table:
    """Every measured latency, and how many times as fast as the reference and as the IR in plain OpenVINO it is."""
    benchmark, dense = report["benchmark"], bool(report["training"]["rules"])
    spread = any(row.get("quartiles") for row in benchmark["rows"])
    against = any(reference(row) for row in benchmark["rows"])
    header = ["inputs", "engine", "milliseconds"]
    header += (["quartiles"] if spread else []) + (["times as fast"] if against else [])
    plain = next((row["plain"] for row in benchmark["rows"] if row.get("over_plain")), None)
    header += [f"as {engine(plain, dense=dense)}"] if plain else []
    rows, strong = [], []
    for row in benchmark["rows"]:
        fast = ratios(row)
        for place, (name, milliseconds) in enumerate(row["milliseconds"].items()):
            cells = ["" if place else inputs(row), engine(name, dense=dense), f"{milliseconds:.2f}"]
            if spread:
                ends = row.get("quartiles", {}).get(name)
                cells.append(f"{ends[0]:.2f} to {ends[1]:.2f}" if ends else "-")
            if against:
                noisy = ", noisy" if name in row.get("noisy", ()) else ""
                cells.append("1" if name == reference(row) else (span(fast[name]) + noisy if name in fast else "-"))
            if plain:
                over = row.get("over_plain", {})
                cells.append("1" if name == plain else (span(tuple(over[name])) if name in over else "-"))
            if name.endswith("optkit"):
                strong.append(len(rows))
            rows.append(tuple(cells))
    return Table(header, rows, words=2, strong=strong)


def frontier(report: Mapping[str, Any]) -> Table:
    """What each model lost and how fast it is, the fastest first."""
    rows = [
        (point["name"], f"{point['drop']:.2f}", span((point["ratio"],)), "yes" if point["dominated"] else "no")
        for point in report["frontier"]["points"]
    ]
    return Table(("model", "points lost", "times as fast", "beaten by another"), rows)


def costs(report: Mapping[str, Any]) -> Table:
    """Dollars for a million inferences on each machine of the price list."""
    dense, rows, strong, before = bool(report["training"]["rules"]), [], [], None
    for cost in report["costs"]["costs"]:
        instance = "" if cost["instance"] == before else cost["instance"]
        before = cost["instance"]
        saved = "-" if cost["saved"] is None else f"{cost['saved']:.0%}"
        if cost["engine"].endswith("optkit"):
            strong.append(len(rows))
        speed = f"{cost['per_second']:,.0f}"
        rows.append((instance, engine(cost["engine"], dense=dense), speed, dollars(cost["dollars"]), saved))
    header = ("machine", "engine", "inferences a second", "dollars a million", "saved")
    return Table(header, rows, words=2, strong=strong)


def dollars(amount: float) -> str:
    """An amount with digits enough to be told from another."""
    return f"{amount:.2f}" if amount >= 1 else f"{amount:#.3g}"


def totals(found: Mapping[str, Any]) -> Table:
    """Zeros by each of the four denominators; ``found`` is one sparsity report."""
    names = {
        "encoder_linear": "Linear weights of the encoder",
        "linear": "all Linear weights",
        "matmul_conv": "all matrix-product and convolution weights",
        "all": "all parameters",
    }
    rows = [
        (names[name], f"{d['zeros']:,}", f"{d['size']:,}", f"{d['sparsity']:.2%}")
        for name, d in found["denominators"].items()
        if d is not None
    ]
    return Table(("of", "zeros", "weights", "sparsity"), rows)


def layers(found: Mapping[str, Any]) -> Table:
    """Zeros of every linear layer; ``found`` is one sparsity report."""
    rows = [
        (layer["name"], "x".join(map(str, layer["shape"])), layer["structure"], f"{layer['sparsity']:.2%}")
        for layer in found["layers"]
    ]
    return Table(("layer", "shape", "structure", "sparsity"), rows, words=3, folded=f"All {len(rows)} layers")


def seconds(report: Mapping[str, Any]) -> Table:
    """What each stage took."""
    return Table(("stage", "time"), [(name, duration(value)) for name, value in report["seconds"].items()])
