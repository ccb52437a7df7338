"""What follows from a run's facts: verdict, gain, intervals of the scores, frontier and cost; report.json holds it too.

Every way of showing a report goes through ``concluded``, so that all of them say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from math import sqrt
from typing import Any

from optkit.report.precision import shown
from optkit.report.prices import Prices, costs_of
from optkit.report.reasons import reasons
from optkit.report.render.charts.frontier import Mark, judged
from optkit.report.speed import engine, inputs, per_second, ratios, reference, speedup
from optkit.report.verdict import verdict

#: Metrics that are the share of right ones among as many independent examples as a split says.
SHARES = ("accuracy", "exact_match")
#: What was evaluated, and the engine that was timed on the same model.
_PAIRS = {
    "dense": "dense torch",
    "pruned": "pruned torch",
    "int8": "int8 openvino",
    "int8 f32": "int8 openvino f32",
    "int8 optkit": "int8 optkit",
    "openvino": "openvino",
    "openvino f32": "openvino f32",
    "optkit": "optkit",
}
_KEYS = ("verdict", "gain", "intervals", "frontier", "costs")


def concluded(report: Mapping[str, Any]) -> dict[str, Any]:
    """``report`` with its conclusions, which reports of earlier releases do not hold yet."""
    found = dict(report) if all(key in report for key in _KEYS) else dict(report) | conclusions(report, None)
    if (found["costs"] or {}).get("example"):
        found["costs"] = None  # earlier releases had a list of made-up prices
    return found


def conclusions(report: Mapping[str, Any], prices: Prices | None) -> dict[str, Any]:
    """Plain data:

    - ``verdict``: a sentence.
    - ``gain``: of the exported model against the dense one, at the first inputs: a ``Speedup`` as data, ``gains``, and
      ``why`` there is none; None where it was not measured.
    - ``intervals``: by split, model and metric the ends of the 95 % interval of a score, where it has one.
    - ``frontier``: ``against``, ``inputs`` and ``points`` (name, drop, ratio, dominated): every model that was both
      scored and timed; None with fewer than two.
    - ``costs``: ``date``, ``source``, ``inputs``, ``threads`` and ``costs``; None without times or ``prices``.
    """
    found = speedup(report["benchmark"])
    gain = None
    if found is not None:
        gain = asdict(found) | {"gains": found.gains, "why": [] if found.gains else reasons(report, found)}
    return {
        "verdict": verdict(report),
        "gain": gain,
        "intervals": _intervals(report["evaluate"]["splits"]),
        "frontier": _frontier(report),
        "costs": _costs(report, prices),
    }


def wilson(share: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share of ``count`` independent examples, see Wilson, 1927,
    https://doi.org/10.1080/01621459.1927.10502953
    """
    middle = share + z * z / (2 * count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max((middle - half) / scale, 0.0), min((middle + half) / scale, 1.0)


def _intervals(splits: Mapping[str, Any]) -> dict[str, Any]:
    return {
        split: {
            name: {metric: wilson(score, found["examples"]) for metric, score in scores.items() if metric in SHARES}
            for name, scores in found.items()
            if isinstance(scores, dict)
        }
        for split, found in splits.items()
    }


def _frontier(report: Mapping[str, Any]) -> dict[str, Any] | None:
    rows, evaluated = (report["benchmark"] or {}).get("rows", []), report["evaluate"]
    scores = next(iter(evaluated["splits"].values()))
    if not rows or "dense" not in scores:
        return None
    fast, metric = ratios(rows[0]), evaluated["metric"]
    dense = bool(report["training"]["rules"])
    marks = [
        Mark(engine(timed, dense=dense), 100 * (scores["dense"][metric] - scores[name][metric]), fast[timed][0])
        for name, timed in _PAIRS.items()
        if name in scores and timed in fast and shown(evaluated, name)
    ]
    if len(marks) < 2:
        return None
    points = [mark._asdict() for mark in judged(marks)]
    return {"against": reference(rows[0]), "inputs": inputs(rows[0]), "points": points}


def _costs(report: Mapping[str, Any], prices: Prices | None) -> dict[str, Any] | None:
    rows = (report["benchmark"] or {}).get("rows", [])
    if not rows or prices is None:
        return None
    threads = report["benchmark"]["threads"]
    listed = {"date": prices.date, "source": prices.source}
    found = [asdict(cost) for cost in costs_of(per_second(rows[0]), reference(rows[0]), threads, prices)]
    return listed | {"inputs": inputs(rows[0]), "threads": threads, "costs": found}
