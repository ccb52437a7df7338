"""The registry: what it lists is what recipes accept."""

from __future__ import annotations

from optkit.pruning.config import CRITERIA, SHAPES
from optkit.registry import entries, names


def test_it_lists_each_kind_once_by_name():
    listed = [(entry.kind, entry.name) for entry in entries()]
    assert len(listed) == len(set(listed))
    assert names("criterion") == tuple(CRITERIA) and names("schedule") == SHAPES
    assert {"structure", "distillation", "task", "metric", "backend", "dataset"} < {kind for kind, _ in listed}


def test_criteria_come_with_parameters_and_papers():
    movement = next(entry for entry in entries("criterion") if entry.name == "movement")
    assert movement.parameters == {"momentum": "1.0", "saliency": "2.0"} and "arxiv.org" in movement.paper
    assert movement.summary.startswith("Remove the weights") and "\n" not in movement.summary
    others = {entry.name: entry.parameters for entry in entries("criterion")}
    assert others["taylor"] == {"momentum": "0.9"} and others["random"] == {"seed": "0"}
    schedules = {entry.name: entry.parameters for entry in entries("schedule")}
    assert [name for name in schedules if "every" in schedules[name]] == ["cubic", "linear", "exponential"]
    assert [name for name in schedules if "jumps" in schedules[name]] == ["stepwise"]
