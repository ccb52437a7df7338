"""Reads results of benchmarks in the present format and in those of earlier releases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optkit.benchmark.backends import BACKENDS
from optkit.benchmark.result import FORMAT, BenchmarkResult
from optkit.variant import Model, Precision

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
        raise ValueError("is no mapping")
    if data.get("format") == FORMAT:
        return BenchmarkResult.model_validate(data)
    try:
        return BenchmarkResult.model_validate(_of_bench(data))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"is incomplete: {error}") from error


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
