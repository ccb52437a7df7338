"""Older formats: one step a number, in order, positions kept. Former keys: what they are now, and a warning."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from optkit import deprecation
from optkit.deprecation import FormerSpelling
from optkit.recipe import migrations
from optkit.recipe.faults import Source
from optkit.recipe.tree import read_tree


def test_steps_run_in_order_and_keep_positions(monkeypatch):
    def rename(old: str, new: str):
        def step(root):
            root.value[new] = root.value.pop(old)

        return step

    monkeypatch.setattr(migrations, "STEPS", {1: rename("a", "b"), 2: rename("b", "c")})
    root = read_tree(Source("r.yaml", "optkit: 1\na: 5\n", Path(".")), [])
    migrations.migrate(root, 1, 3)
    assert root.plain() == {"optkit": 3, "c": 5} and root.value["c"].key.line == 1


TARGETS = [
    ("any", "half", "openvino", "weight_range: half"),
    ("vnni", "full", "openvino", "weight_range: full"),
    ("optkit", "full", "optkit", "weight_range: full and accuracy_backend: optkit"),
]


@pytest.fixture(autouse=True)
def nothing_was_warned_of(monkeypatch):
    monkeypatch.setattr(deprecation, "_warned", set())


@pytest.mark.parametrize(("target", "weight_range", "backend", "instead"), TARGETS)
def test_a_former_target_is_two_keys_and_a_warning(recipes, target, weight_range, backend, instead):
    text = recipes.minimal.replace("{method: int8}", f"\n  target: {target}")
    said = rf"r\.yaml:10: quantize\.target: {target} is deprecated: write {instead}$"
    with pytest.warns(FormerSpelling, match=said):
        recipe = recipes.load(text)
    assert (recipe.quantize.weight_range, recipe.quantize.accuracy_backend) == (weight_range, backend)
    keys = f"{{weight_range: {weight_range}, accuracy_backend: {backend}}}"
    present = recipes.load(recipes.minimal.replace("{method: int8}", keys))
    assert recipe == present and recipe.hash() == present.hash() and "target: " not in recipe.resolved_yaml()


@pytest.mark.parametrize(("target", "weight_range", "backend", "instead"), TARGETS)
def test_a_former_target_may_come_from_the_command_line(recipes, target, weight_range, backend, instead):
    with pytest.warns(FormerSpelling, match=f"^--set: quantize.target: {target} is deprecated: write {instead}$"):
        recipe = recipes.load(recipes.minimal, "quantize.accuracy_backend=optkit", f"quantize.target={target}")
    assert (recipe.quantize.weight_range, recipe.quantize.accuracy_backend) == (weight_range, backend)


def test_a_former_target_replaces_that_of_a_base_and_null_deletes_it(recipes):
    recipes.write(recipes.minimal.replace("{method: int8}", "{target: optkit}"), "base.yaml")
    with pytest.warns(FormerSpelling):
        below = recipes.load("extends: base.yaml\nquantize: {target: any}\n").quantize
        deleted = recipes.load("extends: base.yaml\nquantize: {target: null}\n").quantize
        unset = recipes.load("extends: base.yaml\n", "quantize.target=null").quantize
        beside = recipes.load("extends: base.yaml\nquantize: {weight_range: half}\n").quantize
    for spec in (below, deleted, unset):
        assert (spec.weight_range, spec.accuracy_backend) == ("half", "openvino")
    assert (beside.weight_range, beside.accuracy_backend) == ("half", "optkit")


def test_what_is_wrong_with_a_former_target_is_said_where_it_stands(recipes):
    def problems(value):
        return recipes.problems(recipes.minimal.replace("{method: int8}", value))

    assert problems("{target: avx}") == [
        "r.yaml:9:20: quantize.target: unknown value: in place of target, write weight_range: half, or weight_range: full"
    ]
    assert problems("{target: any, weight_range: full}") == [
        "r.yaml:9:12: quantize.target: is the former spelling of weight_range: remove target"
    ]
    with pytest.warns(FormerSpelling):
        [problem] = problems("{method: int8_weights, target: vnni}")
    assert problem.startswith("r.yaml:9:42: quantize.weight_range: is for int8 products")


def test_the_command_says_it_in_a_line(recipes, optkit_cli):
    recipe = recipes.write(recipes.minimal.replace("{method: int8}", "{target: any}"))
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # else it is an error here
        done = optkit_cli("validate", recipe)
    assert done.code == 0
    assert done.err.splitlines() == [
        f"warning: {recipe}:9: quantize.target: any is deprecated: write weight_range: half"
    ]
