"""`allocate` in a rule: what it says against the other keys, and its table of times as a local file."""

from __future__ import annotations

import pytest

from optkit.recipe import load_recipe
from optkit.recipe.resolved import data


def rules(recipes, rule):
    return recipes.minimal.split("prune:")[0] + f"prune: [{rule}]\n"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{allocate: sensitivity}", "6:20: prune.0.allocate: expected a mapping, got 'sensitivity'"),
        ("{allocate: {by: latenc}}", "6:25: prune.0.allocate.by: unknown value 'latenc', did you mean 'latency'?"),
        (
            "{allocate: {by: latency}}",
            "6:10: prune.0.allocate.speedup: required with by: latency: write the speedup over the dense model to reach, such as 6",
        ),
        ("{allocate: {by: latency, speedup: 1}}", "6:43: prune.0.allocate.speedup: must be above 1, got 1"),
        (
            "{allocate: {by: sensitivity, speedup: 6}}",
            "6:47: prune.0.allocate.speedup: is read with by: latency only: remove it",
        ),
        (
            "{allocate: {by: sensitivity, costs: a}}",
            "6:45: prune.0.allocate.costs: is read with by: latency only: remove it",
        ),
        ("{allocate: {by: sensitivity, samples: 0}}", "6:47: prune.0.allocate.samples: must be at least 1, got 0"),
        ("{allocate: {by: sensitivity, grid: [0]}}", "6:45: prune.0.allocate.grid.0: must be above 0, got 0"),
        (
            "{allocate: {by: latency, speedup: 6, costs: c.json, seq: 9}}",
            "6:66: prune.0.allocate.seq: the table in `costs` was measured for one batch and length: remove this",
        ),
        (
            "{allocate: {by: latency, speedup: 6}, schedule: {to: 0.9}}",
            "6:62: prune.0.schedule.to: allocate.speedup decides the sparsity: remove it",
        ),
        (
            "{allocate: {by: latency, speedup: 6}, schedule: {from: 0.1}}",
            "6:64: prune.0.schedule.from: allocate.speedup decides the sparsity: remove it",
        ),
        (
            "{scope: local, allocate: {by: sensitivity}}",
            "6:24: prune.0.allocate: scope: local gives every layer the same sparsity, and this chooses one for each: remove one of the two",
        ),
        (
            "{criterion: frozen, allocate: {by: sensitivity}}",
            "6:29: prune.0.allocate: the criterion frozen adds no zeros, so there are none to allocate: remove it",
        ),
        (
            "{allocate: {by: sensitivity}, normalize: true}",
            "6:50: prune.0.normalize: compares the scores of different layers, which allocate does not: remove it",
        ),
        (
            "{allocate: {by: latency, speedup: 3}, floor: 0.5, ceiling: 0.4}",
            "6:68: prune.0.ceiling: the floor 0.5 is above the ceiling 0.4",
        ),
        (
            "{allocate: {by: latency, speedup: 3}, structure: '2:4', floor: 0.6}",
            "6:9: prune.0.ceiling: the floor 0.6 is above what the structure reaches, 0.5: lower the floor",
        ),
        ("{allocate: {by: sensitivity}, floor: 0.9}", "6:9: prune.0.ceiling: the sparsity 0.8 must lie between"),
    ],
)
def test_what_contradicts_is_one_fault_at_its_place(recipes, rule, said):
    problems = recipes.problems(rules(recipes, rule))
    assert len(problems) == 1 and problems[0].startswith(f"r.yaml:{said}")


def test_keys_and_their_defaults(recipes):
    rule = "{allocate: {by: sensitivity, grid: [50%, 0.9]}, schedule: {to: 0.7}}"
    [spec] = recipes.load(rules(recipes, rule)).prune
    assert (spec.allocate.samples, spec.allocate.grid, spec.allocate.speedup) == (128, (0.5, 0.9), None)
    assert spec.build().schedule.to == 0.7 and spec.build().shares == ()


@pytest.mark.parametrize(("more", "to"), [("", 0.8), (", structure: '2:4'", 0.4), (", ceiling: 0.6", 0.6)])
def test_by_latency_the_target_is_left_open(recipes, more, to, tmp_path):
    recipe = recipes.load(rules(recipes, f"{{allocate: {{by: latency, speedup: 6}}{more}}}"))
    assert "to" not in data(recipe)["prune"][0]["schedule"]
    # What stands for it until the stage has chosen is something that the rule could reach.
    assert recipe.prune[0].build().schedule.to == pytest.approx(to)
    (tmp_path / "resolved.yaml").write_text(recipe.resolved_yaml(), encoding="utf-8")
    assert load_recipe(tmp_path / "resolved.yaml").prune == recipe.prune


def test_a_table_is_relative_to_its_file_and_stands_for_what_it_holds(recipes, tmp_path):
    (tmp_path / "costs.json").write_text("1", encoding="utf-8")
    rule = "{allocate: {by: latency, speedup: 6, costs: costs.json}}"
    path = tmp_path / "in.yaml"
    path.write_text(rules(recipes, rule), encoding="utf-8")
    recipe = load_recipe(path)
    assert recipe.prune[0].allocate.costs == str(tmp_path / "costs.json")
    resolved, before = recipe.resolved_yaml(), recipe.hash()
    assert "costs: costs.json # sha256 6b86b273" in resolved and str(tmp_path) not in resolved
    (tmp_path / "costs.json").write_text("22", encoding="utf-8")
    assert load_recipe(path).hash() != before
