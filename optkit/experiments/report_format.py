"""Whether report.json says what the comparison of runs reads, value by value: files are copied by half and edited."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: Above what a number is none that was measured; Python's whole numbers may be too large for any arithmetic of floats.
_MOST = 1e100


class Fault(Exception):
    """The first value that is not what a report holds, in words."""


def check(report: Any) -> None:
    """Refuses what is no whole report.

    Raises:
        Fault: naming the value.
    """
    evaluated = _get(report, "evaluate", dict)
    metric = _get(evaluated, "metric", str, "evaluate.")
    if evaluated.get("drop") is not None:
        _number(evaluated["drop"], "evaluate.drop", least=-math.inf)
    splits = _get(evaluated, "splits", dict, "evaluate.")
    if not splits or not all(isinstance(scores, dict) for scores in splits.values()):
        raise Fault("evaluate.splits holds no scores")
    for split, scores in splits.items():
        for name in ("int8", "openvino"):
            if name in scores:
                _number(_get(scores, name, dict, f"{split}.").get(metric), f"{split}.{name}.{metric}", least=-math.inf)
    counted = _get(report, "sparsity", dict)
    for name in ("pruned", "openvino"):
        _check_sparsity(_get(counted, name, dict, "sparsity."), f"sparsity.{name}.")
    _get(_get(report, "machine", dict), "cpu", str, "machine.")
    _get(report, "versions", dict)
    _get(_get(_get(report, "task", dict), "dataset", dict, "task."), "type", str, "task.dataset.")
    if report.get("benchmark") is not None:
        _check_times(_get(report, "benchmark", dict))


def _check_sparsity(found: Mapping[str, Any], at: str) -> None:
    shares = _get(found, "denominators", dict, at)
    if shares.get("encoder_linear") is not None:
        share = _get(shares, "encoder_linear", dict, f"{at}denominators.")
        _number(share.get("sparsity"), f"{at}denominators.encoder_linear.sparsity")
    for i, layer in enumerate(_get(found, "layers", list, at)):
        _get(layer, "name", str, f"{at}layers.{i}.")
        _get(layer, "structure", str, f"{at}layers.{i}.")
        _number(layer.get("sparsity"), f"{at}layers.{i}.sparsity")


def _check_times(benchmark: Mapping[str, Any]) -> None:
    if type(benchmark.get("threads")) is not int or benchmark["threads"] < 1:
        raise Fault("benchmark.threads is no number of threads")
    for i, row in enumerate(_get(benchmark, "rows", list, "benchmark.")):
        at = f"benchmark.rows.{i}."
        times = _get(row, "milliseconds", dict, at)
        for name, time in times.items():
            if _number(time, f"{at}milliseconds.{name}") == 0:
                raise Fault(f"{at}milliseconds.{name} is 0")
        for name, size in (("batch", row.get("batch")), ("seq", row.get("seq") or 1)):
            if type(size) is not int or size < 1:
                raise Fault(f"{at}{name} is no size")
        if row.get("against") is not None and _get(row, "against", str, at) not in times:
            raise Fault(f"{at}against names no engine")
        for name, ratio in (_get(row, "ratios", dict, at) if "ratios" in row else {}).items():
            if not isinstance(ratio, list) or len(ratio) not in (1, 3):
                raise Fault(f"{at}ratios.{name} is no ratio with its interval")
            for value in ratio:
                _number(value, f"{at}ratios.{name}")
        if not all(isinstance(name, str) for name in (_get(row, "noisy", list, at) if "noisy" in row else ())):
            raise Fault(f"{at}noisy is no list of engines")


def _get(held: Any, key: str, kind: type, at: str = "") -> Any:
    if not isinstance(held, dict) or not isinstance(held.get(key), kind):
        words = {"dict": "mapping", "list": "list", "str": "text"}[kind.__name__]
        raise Fault(f"{at}{key} is no {words}")
    return held[key]


def _number(value: Any, what: str, least: float = 0.0) -> float:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MOST  # of a NaN, too
    if not known or value < least:
        raise Fault(f"{what} is no number" if not known else f"{what} is below {least:g}")
    return value
