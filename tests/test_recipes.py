"""Every recipe that users copy, from end to end on a tiny model and tiny files: only names and sizes are changed."""

from __future__ import annotations

from pathlib import Path

import pytest

import optkit
from optkit.recipe import load_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


def at_hand(recipe: Path, checkpoint: Path, files: dict[str, Path]) -> list[str]:
    """Overrides that put a local model, teacher and data in the place of those from the Hub."""
    read = load_recipe(recipe)
    named = ", ".join(f"{split}: {path}" for split, path in files.items())
    sets = [f"task.dataset={{files: {{{named}}}}}", "task.text=sentence", "task.label=label", "task.max_length=32"]
    sets += [f"model={{name: {checkpoint}, overrides: {read.model.overrides}}}"]
    if read.distill is not None:
        sets.append(f"distill.teacher={checkpoint}")
    if read.evaluate.baseline != "auto":
        sets.append(f"evaluate.baseline={checkpoint}")
    if read.quantize is not None:
        sets.append("quantize.calibration.samples=20")
    return [*sets, "benchmark=null", "evaluate.max_drop=null"]


@pytest.mark.parametrize("recipe", [path for path in RECIPES if path.stem != "quickstart"], ids=lambda path: path.stem)
def test_a_recipe_runs_and_reaches_its_targets(recipe, tiny_checkpoint, tiny_files, tmp_path):
    report = optkit.run(recipe, at_hand(recipe, tiny_checkpoint, tiny_files), output=tmp_path / "run")
    asked = [rule for rule in load_recipe(recipe).prune if rule.schedule is not None]
    reached = report["training"]["rules"]
    assert [rule["name"] for rule in reached] == [rule.name for rule in asked]
    for rule, done in zip(asked, reached, strict=True):
        assert done["pruned"] >= round(rule.schedule.to * done["groups"])
    assert {"pruned", "int8", "dense"} <= report["evaluate"]["splits"]["validation"].keys()
