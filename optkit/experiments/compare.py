"""How two runs differ: in what was asked for, in accuracy, in speed, and layer by layer in sparsity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError
from optkit.experiments.runs import Run, load_run
from optkit.report.speed import precision

RECIPE = "recipe.resolved.yaml"


@dataclass(frozen=True)
class Difference:
    """A value that two runs do not share; None where a run has none."""

    what: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Comparison:
    """Differences by kind; only what differs is there."""

    recipe: list[Difference]
    accuracy: list[Difference]
    speed: list[Difference]
    sparsity: list[Difference]
    machine: list[Difference]

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
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
    reports = first.report, second.report
    accuracy = [_flat(report["evaluate"]["splits"]) for report in reports]
    speed = [dict(_times(report["benchmark"])) for report in reports]
    sparsity = [
        {
            layer["name"]: (layer["structure"], round(layer["sparsity"], 4))
            for layer in report["sparsity"]["pruned"]["layers"]
        }
        for report in reports
    ]
    machine = [
        _flat({"machine": report["machine"], "versions": report["versions"]} | {"OpenVINO": _precision(report)})
        for report in reports
    ]
    recipes = [_flat(_recipe(run.path / RECIPE)) for run in (first, second)]
    return Comparison(*(_differences(*pair) for pair in (recipes, accuracy, speed, sparsity, machine)))


def _recipe(file: Path) -> dict[str, Any]:
    from optkit.recipe.faults import Source
    from optkit.recipe.tree import read_tree

    faults: list[Any] = []
    try:
        root = read_tree(Source(str(file), file.read_text(encoding="utf-8"), file.parent), faults)
    except (OSError, ValueError) as error:
        raise OptkitError(f"{file}: cannot be read: the run is not whole, do it again") from error
    if root is None or faults:
        raise OptkitError(f"{file}: not a recipe that a run has written: {faults[0].message}: do the run again")
    data = root.plain()
    return data if isinstance(data, dict) else {}


def _precision(report: Mapping[str, Any]) -> str | None:
    """At which precision OpenVINO was timed."""
    return f"computes in {precision(report['benchmark'])}" if report["benchmark"] else None


def _times(benchmark: Mapping[str, Any] | None) -> Iterator[tuple[str, float]]:
    for row in (benchmark or {"rows": []})["rows"]:
        for engine, milliseconds in row["milliseconds"].items():
            yield f"{engine}, {row['batch']} x {row['seq'] or 'image'}", milliseconds


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
