"""The charts of a report, each for screens and paper and once more for phones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optkit.benchmark.result import BenchmarkResult
from optkit.report.figures import FrontierFacts, Layer
from optkit.report.labels import baseline_name, dense_as_baseline, variant_label
from optkit.report.render.blocks import Picture
from optkit.report.render.charts.bars import Bar, bars_chart
from optkit.report.render.charts.frontier import Mark, frontier_chart
from optkit.report.render.charts.history import history_chart
from optkit.report.render.charts.sparsity import sparsity_chart
from optkit.report.render.charts.style import NARROW, WIDE
from optkit.report.schema import Report
from optkit.report.speed import ratio_text, ratios, reference_label

#: Layers in one chart: more would not fit on a printed page.
_PAGE = 90


def latency(report: Report, benchmark: BenchmarkResult) -> Picture:
    """Bars of milliseconds with their quartiles, for each shape that was measured."""
    groups = []
    for shape in benchmark.shapes:
        fast, bars = ratios(shape), []
        for variant, milliseconds in shape.milliseconds.items():
            ends = shape.quartiles.get(variant)
            text = f"{milliseconds:.2f} ms" + (f", {ratio_text(fast[variant][0])}x" if variant in fast else "")
            text += " ?" if variant in shape.noisy else ""
            whisker = (ends[0], ends[1]) if ends else None
            bars.append(Bar(variant_label(report, variant), milliseconds, whisker, text, not variant.exported))
        groups.append((shape.inputs, bars))
    drawn = _twice(lambda **options: bars_chart(groups, title="Latency of one batch", axis="milliseconds", **options))
    captions = ["Shorter is better; blue is what was exported."]
    captions += ["Whiskers: quartiles."] if any(shape.quartiles for shape in benchmark.shapes) else []
    captions += ["A question mark: too noisy to be sure."] if any(shape.noisy for shape in benchmark.shapes) else []
    return drawn._replace(caption=" ".join(captions))


def frontier(report: Report, found: FrontierFacts, benchmark: BenchmarkResult) -> Picture:
    """Each model that was both scored and timed."""
    marks = [Mark(point.name, point.drop, point.ratio, point.dominated) for point in found.points]
    baseline, title = baseline_name(report), "Accuracy lost against speed gained"
    lost = f"points of {report.evaluate.metric} against the {baseline}"
    against = dense_as_baseline(report, reference_label(benchmark, found.against))
    axis = f"times as fast as {against}, {found.inputs}"
    limit = report.evaluate.max_drop
    drawn = _twice(lambda **options: frontier_chart(marks, title=title, axis=axis, lost=lost, limit=limit, **options))
    dashed = f"the accuracy of the {baseline} and the speed of {variant_label(report, found.against)}"
    return drawn._replace(caption=f"Up and right is better. Dashed: {dashed}. Grey: another is no worse in either.")


def sparsity(layers: Sequence[Layer]) -> list[Picture]:
    """A bar for each layer."""
    drawn = []
    for first in range(0, len(layers), _PAGE):
        part = layers[first : first + _PAGE]
        which = f", {first + 1} to {first + len(part)}" if len(layers) > _PAGE else ""
        title = f"Zeros in each layer{which}"
        drawn.append(_twice(lambda part=part, title=title, **options: sparsity_chart(part, title, **options)))
    return drawn


def history(report: Report) -> Picture | None:
    """Sparsity, loss and scores over training; None where nothing was trained."""
    training, title = report.training, "Training, step by step"
    kept = training.chosen.step if training.chosen else None
    chosen = kept if kept != training.steps else None
    scores = [score.model_dump() for score in training.scores]

    def draw(**options: float) -> str | None:
        metric = report.evaluate.metric
        return history_chart(report.history, scores, title=title, metric=metric, chosen=chosen, **options)

    return None if draw() is None else _twice(draw)


def _twice(draw: Callable[..., str]) -> Picture:
    return Picture(draw(width=WIDE, inline=True), draw(width=NARROW, inline=True))
