"""Reports of earlier releases as the present format has them.

Format 1: OpenVINO was scored and timed with the f32 hint. Format 2: at its default precision, with rows of the hint
beside. Format 3: variants go by their ids, and the scores of a split lie under ``scores``. Format 4: ``benchmark`` is a
``BenchmarkResult``, as `optkit bench --json` writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optkit.report.benchmark_migration import migrate_benchmark
from optkit.variant import Precision, migrate_name

FORMAT = 4
_EARLIER = (1, 2, 3)


def migrate(report: Mapping[str, Any]) -> dict[str, Any]:
    """``report`` in the present format. What is not as its own format has it is left for the schema to refuse.

    Args:
        report: in any format that was ever written; its sections may also be facts of stages that were done by an
            earlier release, whatever format the report itself has.

    Raises:
        ValueError: if it has no format, or one of a newer release.
    """
    number = report.get("format")
    if type(number) is not int or number not in (*_EARLIER, FORMAT):
        raise ValueError("has no format" if type(number) is not int else f"has format {number}")
    names = _Names(_int8(report))
    found = dict(report) | {"format": FORMAT}
    if isinstance(report.get("evaluate"), dict):
        found["evaluate"] = _evaluation(report["evaluate"], names)
    if isinstance(report.get("benchmark"), dict):
        found["benchmark"] = migrate_benchmark(report["benchmark"], _provenance(report), names)
    if number == FORMAT:
        return found
    found["export"] = report.get("export") or {}
    found |= {key: _conclusion(report[key], names) for key in ("gain", "frontier") if key in report}
    if isinstance(report.get("intervals"), dict):
        found["intervals"] = {split: names.keys(models) for split, models in report["intervals"].items()}
    if isinstance(costs := report.get("costs"), dict):
        # One release made prices up where there was no list.
        found["costs"] = None if costs.get("example") else costs | {"costs": _costs(costs.get("costs"), names)}
    return found


class _Names:
    """Ids for the names that earlier formats gave to models and engines; what is no such name stays as it is."""

    def __init__(self, int8: Precision):
        self._int8 = int8

    def __call__(self, name: Any) -> Any:
        try:
            return migrate_name(name, int8=self._int8).id if isinstance(name, str) else name
        except ValueError:
            return name

    def keys(self, found: Any) -> Any:
        return {self(name): value for name, value in found.items()} if isinstance(found, dict) else found

    def list(self, found: Any) -> Any:
        return [self(name) for name in found] if isinstance(found, list) else found


def _int8(report: Mapping[str, Any]) -> Precision:
    """What int8 stood for in the names of a run."""
    export = report.get("export")
    facts = export.get("quantization") if isinstance(export, dict) else None
    method = facts.get("method") if isinstance(facts, dict) else None
    return "int8_weights" if method == "int8_weights" else "int8"


def _provenance(report: Mapping[str, Any]) -> dict[str, Any]:
    """``machine`` and ``versions`` of the times, as far as the report has them."""
    measured = report.get("measured")
    stage = measured.get("benchmark") if isinstance(measured, dict) else None
    entries = [stage if isinstance(stage, dict) else {}, report]
    found = {key: [each[key] for each in entries if isinstance(each.get(key), dict)] for key in ("machine", "versions")}
    return {key: values[0] for key, values in found.items() if values}


def _evaluation(found: Mapping[str, Any], names: _Names) -> dict[str, Any]:
    splits = found.get("splits")
    if isinstance(splits, dict):
        splits = {name: _split(split, names) for name, split in splits.items()}
    judged = found.get("judged") or _exported(splits)
    return {**found, "splits": splits, "judged": names(judged)}


def _split(split: Any, names: _Names) -> Any:
    if not isinstance(split, dict) or "scores" in split:
        return split
    about = {key: split[key] for key in ("examples", "agreement") if key in split}
    return about | {"scores": {names(key): value for key, value in split.items() if key not in about}}


def _exported(splits: Any) -> str | None:
    """The model that ``drop`` is of in reports that do not say it."""
    first = next(iter(splits.values()), None) if isinstance(splits, dict) else None
    scores = first.get("scores") if isinstance(first, dict) else None
    wanted = ("pruned/int8/openvino", "pruned/int8_weights/openvino", "pruned/fp32/openvino")
    return next((name for name in wanted if isinstance(scores, dict) and name in scores), None)


def _conclusion(found: Any, names: _Names) -> Any:
    if not isinstance(found, dict):
        return found
    return found | {key: names(found[key]) for key in ("of", "against") if key in found}


def _costs(rows: Any, names: _Names) -> Any:
    if not isinstance(rows, list):
        return rows
    return [row | {"engine": names(row.get("engine"))} if isinstance(row, dict) else row for row in rows]
