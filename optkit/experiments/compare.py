"""The differences of two runs: recipe, accuracy, speed, and the sparsity of each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError
from optkit.experiments.runs import Run, load_run
from optkit.report.labels import display_name, variant_label
from optkit.report.schema import Report
from optkit.report.speed import precision

RECIPE = "recipe.resolved.yaml"


@dataclass(frozen=True)
class Difference:
    """A value that differs between two runs; None where a run has none."""

    what: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Comparison:
    """Differences by kind; ``speed_left_out`` says why times are not compared."""

    recipe: list[Difference]
    accuracy: list[Difference]
    speed: list[Difference]
    sparsity: list[Difference]
    machine: list[Difference]
    speed_left_out: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def compare(first: Run | str | Path, second: Run | str | Path) -> Comparison:
    """Lists what differs between two runs.

    Args:
        first, second: finished runs, or their folders.

    Raises:
        UsageError: if one is not a finished run.
        OptkitError: if a report or a recipe cannot be read.
    """
    first, second = (run if isinstance(run, Run) else load_run(run) for run in (first, second))
    recipes = [_flat(_recipe(run.path / RECIPE)) for run in (first, second)]
    found = [[part(run.report) for run in (first, second)] for part in (_scores, _times, _layers, _provenance)]
    recipe, scores, times, layers, machine = (_differences(*pair) for pair in (recipes, *found))
    left_out = None
    if times and (first.cpu, first.threads) != (second.cpu, second.threads):
        alike = first.threads == second.threads
        on = [run.cpu if alike else f"{run.cpu} with {run.threads} threads" for run in (first, second)]
        left_out = (
            f"times do not compare: they were measured on {on[0]} and on {on[1]}: time both on one machine with "
            "`optkit bench`"
        )
    return Comparison(recipe, scores, [] if left_out else times, layers, machine, left_out)


def _scores(report: Report) -> dict[str, Any]:
    """Every score, by split, model and metric; the agreement of each split."""
    found: dict[str, Any] = {}
    for name, split in report.evaluate.splits.items():
        found |= {f"{name}.examples": split.examples, f"{name}.agreement": split.agreement}
        for variant, scores in split.scores.items():
            model = display_name(report, variant)
            found |= {f"{name}.{model}.{metric}": score for metric, score in scores.items()}
    return found


def _times(report: Report) -> dict[str, Any]:
    """Milliseconds by variant and inputs."""
    return {
        f"{variant_label(report, variant)}, {shape.inputs}": milliseconds
        for shape in (report.benchmark.shapes if report.benchmark else ())
        for variant, milliseconds in shape.milliseconds.items()
    }


def _layers(report: Report) -> dict[str, Any]:
    return {layer.name: (layer.structure, round(layer.sparsity, 4)) for layer in report.checkpoint_sparsity.layers}


def _provenance(report: Report) -> dict[str, Any]:
    """The machine and versions that the times were measured with, and at which precision OpenVINO computed."""
    benchmark, machine = report.benchmark, report.machine.model_dump(exclude_none=True)
    computes = f"computes in {precision(benchmark)}" if benchmark else None
    return _flat({"machine": machine, "versions": report.versions}) | {"OpenVINO": computes}


def _recipe(file: Path) -> dict[str, Any]:
    from optkit.recipe.faults import Source
    from optkit.recipe.tree import read_tree

    faults: list[Any] = []
    try:
        root = read_tree(Source(str(file), file.read_text(encoding="utf-8"), file.parent), faults)
    except (OSError, ValueError) as error:
        raise OptkitError(f"{file}: cannot be read: the run is incomplete: run it again") from error
    if root is None or faults:
        raise OptkitError(f"{file}: not a recipe that a run wrote: {faults[0].message}: run it again")
    data = root.plain()
    return data if isinstance(data, dict) else {}


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of nested mappings and lists by its path, written as recipes write theirs; rules go by their names."""
    if isinstance(value, Mapping):
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, (Mapping, list)) for inner in value):
        items = [
            (inner["name"] if isinstance(inner, Mapping) and inner.get("name") else str(i), inner)
            for i, inner in enumerate(value)
        ]
    else:
        return {path: value}
    leaves: dict[str, Any] = {}
    for key, inner in items:
        leaves |= _flat(inner, f"{path}.{key}" if path else key)
    return leaves


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    names = dict.fromkeys([*first, *second])
    pairs = [Difference(name, first.get(name), second.get(name)) for name in names]
    return [pair for pair in pairs if pair.first != pair.second]
