"""What a run leaves behind, damaged: report.json, manifest.json, the resolved recipe, files of `optkit bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from odd_folders import damage_bytes, damage_json
from odd_values import pick


def write_run(folder: Path, sparsity: float = 0.8) -> None:
    """A finished run, as far as `compare`, `pareto` and `cost` read it."""
    folder.mkdir(parents=True)
    scores = {"examples": 10, "dense": {"accuracy": 0.9}, "int8": {"accuracy": 0.88}}
    layer = {"name": "layer.0.weight", "structure": "1x4", "sparsity": sparsity}
    zeros = {"denominators": {"encoder_linear": {"sparsity": sparsity}}, "layers": [layer]}
    times = {"dense openvino": 10.0, "int8 optkit": 4.0}
    report: dict[str, Any] = {
        "format": 1,
        "name": "case",
        "recipe_hash": "abc",
        "task": {"type": "text-classification", "dataset": {"type": "files"}},
        "evaluate": {
            "metric": "accuracy",
            "splits": {"validation": scores},
            "drop": 2.0,
            "max_drop": 3,
            "within_max_drop": True,
        },
        "sparsity": {"pruned": zeros, "openvino": zeros},
        "benchmark": {"threads": 2, "rounds": 20, "rows": [{"batch": 1, "seq": 128, "milliseconds": times}]},
        "machine": {"cpu": "Some CPU", "cores": 2},
        "versions": {"optkit": "0.1.0"},
        "folders": {"dense": str(folder / "dense"), "openvino": str(folder / "openvino")},
    }
    (folder / "report.json").write_text(json.dumps(report))
    stage = {"key": "k", "seconds": 1.0, "finished": "now", "versions": {}, "facts": {"a": 1}}
    manifest = {"format": 1, "recipe": "case", "stages": {"plan": stage, "dense": stage}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "recipe.resolved.yaml").write_text("optkit: 1\nseed: 1\nprune:\n- name: a\n  structure: 1x4\n")


def write_bench(file: Path) -> None:
    """A file of `optkit bench --json`, as far as `cost` reads it."""
    row = {"path": "m", "model": "dense", "backend": "torch", "milliseconds": 10.0, "per_second": 100.0}
    row |= {"reference": True, "noisy": False}
    report = {
        "format": 1,
        "settings": {"threads": 2, "mode": "latency", "streams": None, "duration": 5.0, "texts": None},
        "machine": {"cpu": "Some CPU", "cores": 2},
        "models": [{"path": "m", "model": "dense", "backend": "torch"}],
        "shapes": [{"batch": 1, "seq": 128, "rows": [row]}],
        "warnings": [],
    }
    file.write_text(json.dumps(report))


def write(rng: np.random.Generator, folder: Path, recipe: Path) -> tuple[list[object], str]:
    """Two runs, one of them damaged, and a file of times; the command line that reads them, and what was damaged."""
    write_run(folder / "first")
    write_run(folder / "second", 0.5)
    write_bench(folder / "bench.json")
    (folder / "prices.yaml").write_text("date: 2026-01-01\nsource: me\ninstances: {a: {hourly: 0.1, cores: 2}}\n")
    damaged = pick(
        rng,
        (
            "second/report.json",
            "second/report.json",
            "second/report.json",
            "second/manifest.json",
            "second/recipe.resolved.yaml",
            "bench.json",
            "bench.json",
            "prices.yaml",
        ),
    )
    file = folder / damaged
    if file.suffix == ".json" and rng.random() < 0.85:
        damage_json(rng, file, ("machine", "folders", "stages", "rows"))
    else:
        damage_bytes(rng, file)
    prices = ["--prices", "prices.yaml"]
    shown = f"{damaged}: {file.read_bytes()[:2500]!r}"
    of_runs: list[list[object]] = [
        *(["compare", "first", "second"], ["compare", "second", "first", "--json"], ["pareto", "first", "second"]),
        *(["pareto", ".", "--max-drop", "1"], ["pareto", "second", "--plot", "chart.svg"], ["cost", "second", *prices]),
        *(["cost", "second", *prices, "--batch", "1", "--seq", "128"], ["bench", "second", "--duration", "0.001"]),
        ["push", "second", "--repo", "org/name", "--dry-run"],
    ]
    of_manifest: list[list[object]] = [
        ["run", recipe, "--output", "second", "--stop-after", "plan", "--quiet"],
        ["run", recipe, "--output", "new", "--reuse", "second", "--stop-after", "plan", "--quiet"],
        ["run", recipe, "--output", "new", "--reuse", ".", "--stop-after", "plan", "--quiet", "--fresh"],
        ["bench", "second", "--duration", "0.001"],
    ]
    words = {
        "second/manifest.json": of_manifest,
        "bench.json": [["cost", "bench.json", *prices], ["cost", "bench.json", *prices, "--json"]],
    }
    words["prices.yaml"] = [["cost", "first", "--prices", "prices.yaml"]]
    return pick(rng, words.get(damaged, of_runs)), shown
