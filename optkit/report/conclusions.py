"""Conclusions from the facts of a run: verdict, gain, intervals of the scores, frontier and cost.

They are in report.json, and every page is rendered from it, so that all pages agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import sqrt

from optkit.report.explanations import explanations
from optkit.report.figures import CostFacts, CostTable, FrontierFacts, FrontierPoint, Gain, Split
from optkit.report.labels import variant_label
from optkit.report.precision import is_shown
from optkit.report.prices import Prices, costs_of
from optkit.report.render.charts.frontier import Mark, mark_dominated
from optkit.report.schema import Facts, Report
from optkit.report.speed import ratios, speedup
from optkit.report.verdict import verdict
from optkit.variant import Variant

#: Metrics that are the share of correct answers among the examples of a split.
SHARES = ("accuracy", "exact_match")


def conclude(facts: Facts, prices: Prices | None) -> Report:
    """The report of ``facts``, with these conclusions:

    - ``verdict``: a sentence.
    - ``gain``: of the exported model against the dense one, at the first inputs: a ``Speedup``, whether it ``gains``,
      and ``why`` not; None where it was not measured.
    - ``intervals``: by split, variant and metric the ends of the 95 % interval of a score, where it has one.
    - ``frontier``: every variant that was both scored and timed; None with fewer than two.
    - ``costs``: None without times or ``prices``.
    """
    return Report(
        **{name: getattr(facts, name) for name in Facts.model_fields},
        **(facts.model_extra or {}),
        verdict=verdict(facts),
        gain=_gain(facts),
        intervals=_intervals(facts.evaluate.splits),
        frontier=_frontier(facts),
        costs=_costs(facts, prices),
    )


def wilson(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share of ``count`` independent examples, see Wilson, 1927,
    https://doi.org/10.1080/01621459.1927.10502953
    """
    middle = share + z * z / (2 * count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def _gain(facts: Facts) -> Gain | None:
    found = speedup(facts.benchmark)
    if found is None:
        return None
    ends = {name: value and list(value) for name, value in (("interval", found.interval), ("over", found.over_plain))}
    why = [] if found.gains else explanations(facts, found)
    data = asdict(found) | {"of": found.of, "against": found.against}
    return Gain(**data | {"interval": ends["interval"], "over_plain": ends["over"]}, gains=found.gains, why=why)


def _intervals(splits: Mapping[str, Split]) -> dict[str, dict[Variant, dict[str, list[float]]]]:
    return {
        name: {
            variant: {
                metric: list(wilson(score, split.examples))
                for metric, score in scores.items()
                if metric in SHARES and split.examples and 0 <= score <= 1
            }
            for variant, scores in split.scores.items()
        }
        for name, split in splits.items()
    }


def _frontier(facts: Facts) -> FrontierFacts | None:
    shape, evaluated, scores = facts.first_shape, facts.evaluate, facts.evaluate.first
    baseline = evaluated.baseline_scores
    if shape is None or baseline is None:
        return None
    fast, metric = ratios(shape), evaluated.metric
    marks = [
        Mark(variant_label(facts, variant), 100 * (baseline[metric] - found[metric]), fast[variant][0])
        for variant, found in scores.items()
        if variant in fast and is_shown(evaluated, variant)
    ]
    against = shape.against
    if len(marks) < 2 or against is None:
        return None
    points = [FrontierPoint(**mark._asdict()) for mark in mark_dominated(marks)]
    return FrontierFacts(against=against, inputs=shape.inputs, points=points)


def _costs(facts: Facts, prices: Prices | None) -> CostTable | None:
    shape = facts.first_shape
    if shape is None or prices is None or facts.benchmark is None:
        return None
    threads = facts.benchmark.threads
    found = costs_of(shape.per_second, shape.against, threads, prices)
    if not found:
        return None
    rows = [CostFacts(**asdict(cost) | {"engine": cost.engine}) for cost in found]
    return CostTable(date=prices.date, source=prices.source, inputs=shape.inputs, threads=threads, costs=rows)
