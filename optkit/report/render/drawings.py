"""The charts of a report, each for screens and paper and once more for phones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optkit.report.precision import HINTED
from optkit.report.render.blocks import Picture
from optkit.report.render.charts.bars import Bar, bars_chart
from optkit.report.render.charts.frontier import Mark, frontier_chart
from optkit.report.render.charts.history import history_chart
from optkit.report.render.charts.sparsity import sparsity_chart
from optkit.report.render.charts.style import NARROW, WIDE
from optkit.report.speed import EXPORTED, engine, inputs, ratios, reference_engine, times
from optkit.report.words import baseline, sparse_layers

#: Layers in one chart: more would not fit on a printed page.
_PAGE = 90


def latency(report: Mapping[str, Any]) -> Picture:
    """Bars of milliseconds with their quartiles, for each shape that was measured."""
    dense = bool(report["training"]["rules"])
    groups = []
    for row in report["benchmark"]["rows"]:
        fast, bars = ratios(row), []
        for name, milliseconds in row["milliseconds"].items():
            ends = row.get("quartiles", {}).get(name)
            says = f"{milliseconds:.2f} ms" + (f", {times(fast[name][0])}x" if name in fast else "")
            whisker = tuple(ends) if ends else None
            says += " ?" if name in row.get("noisy", ()) else ""
            bars.append(
                Bar(engine(name, dense=dense), milliseconds, whisker, says, name.removesuffix(HINTED) not in EXPORTED)
            )
        groups.append((inputs(row), bars))
    drawn = _twice(lambda **how: bars_chart(groups, title="Latency of one batch", axis="milliseconds", **how))
    says = ["Shorter is better; blue is what was exported."]
    rows = report["benchmark"]["rows"]
    says += ["Whiskers: quartiles."] if any(row.get("quartiles") for row in rows) else []
    says += ["A question mark: too noisy to be sure."] if any(row.get("noisy") for row in rows) else []
    return drawn._replace(caption=" ".join(says))


def frontier(report: Mapping[str, Any]) -> Picture:
    """Each model that was both scored and timed."""
    found, dense = report["frontier"], bool(report["training"]["rules"])
    marks = [Mark(**point) for point in found["points"]]
    title = "Accuracy lost against speed gained"
    lost = f"points of {report['evaluate']['metric']} against the {baseline(report)}"
    axis = f"times as fast as {reference_engine(report['benchmark'], found['against'], dense=dense)}, {found['inputs']}"
    limit = report["evaluate"]["max_drop"]
    drawn = _twice(lambda **how: frontier_chart(marks, title=title, axis=axis, lost=lost, limit=limit, **how))
    dashed = f"the accuracy of the {baseline(report)} and the speed of {engine(found['against'], dense=dense)}"
    return drawn._replace(caption=f"Up and right is better. Dashed: {dashed}. Grey: another is no worse in either.")


def sparsity(report: Mapping[str, Any]) -> list[Picture]:
    """A bar for each layer; nothing where no layer is sparse."""
    layers, drawn = sparse_layers(report), []
    for first in range(0, len(layers), _PAGE):
        part = layers[first : first + _PAGE]
        which = f", {first + 1} to {first + len(part)}" if len(layers) > _PAGE else ""
        title = f"Zeros in each layer{which}"
        drawn.append(_twice(lambda part=part, title=title, **how: sparsity_chart(part, title, **how)))
    return drawn


def history(report: Mapping[str, Any]) -> Picture | None:
    """Sparsity, loss and scores over training; None where nothing was trained."""
    training, title = report["training"], "Training, step by step"
    kept = (training.get("chosen") or {}).get("step")
    options = {"metric": report["evaluate"]["metric"], "chosen": kept if kept != training.get("steps") else None}
    scores = training.get("scores", ())
    draw = lambda **how: history_chart(report["history"], scores, title=title, **options, **how)  # noqa: E731
    return None if draw() is None else _twice(draw)


def _twice(draw: Callable[..., str]) -> Picture:
    return Picture(draw(width=WIDE, inline=True), draw(width=NARROW, inline=True))
