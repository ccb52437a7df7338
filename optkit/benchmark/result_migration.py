"""Reads what a benchmark measured, as this release writes it and as earlier ones did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optkit.benchmark.backends import BACKENDS
from optkit.benchmark.result import FORMAT, BenchmarkResult
from optkit.variant import Model, Precision, migrate_name

#: What earlier files of `optkit bench` call a model, with the number format of its files.
_KINDS: dict[str, tuple[Model, Precision | None]] = {
    "dense": ("dense", None),
    "checkpoint": ("given", None),
    "ONNX": ("given", "fp32"),
    "fp32 IR": ("given", "fp32"),
    "int8 IR": ("given", "int8"),
    "baked IR": ("given", "int8"),
}


def read_result(data: Any) -> BenchmarkResult:
    """The result in a file of `optkit bench --json`.

    Raises:
        ValueError: if it is none of this or of an earlier release.
    """
    if not isinstance(data, dict):
        raise ValueError("no mapping")
    if data.get("format") == FORMAT:
        return BenchmarkResult.model_validate(data)
    try:
        return BenchmarkResult.model_validate(_of_bench(data))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"not whole: {error}") from error


def _of_bench(data: Mapping[str, Any]) -> dict[str, Any]:
    """Formats 1 and 2 of `optkit bench`, whose rows have a model's kind and a backend."""
    if data["format"] not in (1, 2):
        raise ValueError(f"format {data['format']} is none that is known")
    # The IR of a run stands beside its dense baseline.
    runs = {row["path"] for shape in data["shapes"] for row in shape["rows"] if row["model"] == "dense"}

    def variant(row: Mapping[str, Any]) -> str:
        model, precision = _KINDS[row["model"]]
        backend = BACKENDS[row["backend"]]
        is_pruned = row["path"] in runs and model == "given"
        return backend.variant("pruned" if is_pruned else model, precision).id

    def renamed(row: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in row.items() if name not in ("model", "backend", "over_int8")}
        return kept | {"variant": variant(row), "name": f"{row['model']}, {row['backend']}"}

    machine = {name: value for name, value in data["machine"].items() if name not in ("versions", "flags")}
    shapes = []
    for shape in data["shapes"]:
        over = any(row.get("over_int8") for row in shape["rows"])
        plain = next((row for row in shape["rows"] if over and row["backend"] == "openvino-int8"), None)
        rows = [renamed(row) | {"over_plain": row.get("over_int8"), "plain": row is plain} for row in shape["rows"]]
        shapes.append(dict(shape) | {"rows": rows})
    precision = data["settings"].get("precision", "f32" if data["format"] == 1 else None)
    return dict(data) | {
        "format": FORMAT,
        "settings": dict(data["settings"]) | {"precision": precision},
        "machine": machine | {"instruction_sets": data["machine"].get("flags", [])},
        "versions": data["machine"].get("versions", {}),
        "models": [renamed(model) for model in data.get("models", [])],
        "shapes": shapes,
    }


def migrate_times(times: Mapping[str, Any], *, int8: Precision = "int8") -> dict[str, Any]:
    """The ``benchmark`` of a report of format 1 or 2 in the form of this release.

    Args:
        int8: what the report calls int8, see ``migrate_name``.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: if it is none.
    """
    names = {name: migrate_name(name, int8=int8) for row in times["rows"] for name in row["milliseconds"]}

    def row_of(row: Mapping[str, Any], name: str) -> dict[str, Any]:
        milliseconds, against = row["milliseconds"][name], _against(row)
        found = {"variant": names[name].id, "name": names[name].label, "milliseconds": milliseconds}
        found |= {"per_second": 1000.0 * row["batch"] / milliseconds, "reference": name == against}
        found |= {"quartiles": row.get("quartiles", {}).get(name), "noisy": name in row.get("noisy", ())}
        found |= {"plain": name == row.get("plain"), "over_plain": row.get("over_plain", {}).get(name)}
        if against is not None and name != against:
            medians = [row["milliseconds"][against] / milliseconds]
            found["ratio"] = row.get("ratios", {}).get(name, medians)
        if names[name].engine == "optkit" and row is times["rows"][0]:
            found["plan"] = times.get("runtime")
        return found

    shapes = [
        {name: row.get(name) for name in ("batch", "seq", "pixels")}
        | {"rows": [row_of(row, name) for name in row["milliseconds"]]}
        for row in times["rows"]
    ]
    left_out = []
    for name, why in times.get("skipped", {}).items():
        precision: Precision = int8 if any(own.quantized for own in names.values()) else "fp32"
        exported = migrate_name("optkit") if precision == "fp32" else migrate_name("int8 optkit", int8=precision)
        left_out.append({"variant": (exported if name == "optkit" else migrate_name(name, int8=int8)).id, "why": why})
    return {
        "format": FORMAT,
        "settings": {
            "threads": times["threads"],
            "rounds": times.get("rounds"),
            # Releases that do not say it compiled with the f32 hint.
            "precision": times.get("precision", "f32"),
        },
        "machine": dict(times.get("machine") or {}),
        "left_out": left_out,
        "shapes": shapes,
    }


def _against(row: Mapping[str, Any]) -> str | None:
    """What the ratios of a row are against, also where early releases do not say it."""
    known = ("dense openvino", "dense torch")
    return row.get("against") or next((name for name in known if name in row["milliseconds"]), None)
