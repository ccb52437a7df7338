"""`--set`: what a path may go through, what a value may be, and what is said when it cannot be."""

from __future__ import annotations

import pytest


def test_a_value_is_yaml(recipes):
    recipe = recipes.load(
        recipes.minimal,
        "train.learning_rate=3e-5",
        "train.warmup_steps=5%",
        "task.text=[question, sentence]",
        "distill={teacher: t, weight: 50%}",
        "description=a = b",
    )
    assert recipe.train["learning_rate"] == 3e-5 and str(recipe.train["warmup_steps"]) == "5%"
    assert recipe.task.text == ("question", "sentence") and recipe.distill.weight == 0.5
    assert recipe.description == "a = b"


def test_shorthands_are_written_out_first(recipes):
    recipe = recipes.load(recipes.minimal, "prune.0.criterion.momentum=0.9", "task.metric=accuracy", "task.metric.0=f1")
    assert (recipe.prune[0].criterion.name, recipe.prune[0].criterion.momentum) == ("movement", 0.9)
    assert recipe.task.metric == ("f1",)


def test_rules_are_found_by_index_and_by_name(recipes):
    text = recipes.minimal.replace("quantize:", "  - {targets: [a]}\nquantize:")
    recipe = recipes.load(text, "prune.encoder.schedule.to=0.6", "prune.rule1.structure=4x1", "prune.1.scope=local")
    assert recipe.prune[0].schedule.to == 0.6
    assert (recipe.prune[1].structure, recipe.prune[1].scope) == ("4x1", "local")


def test_null_deletes_and_later_ones_win(recipes):
    recipe = recipes.load(recipes.minimal, "quantize=null", "seed=1", "seed=2")
    assert recipe.quantize is None and recipe.seed == 2
    assert recipes.load(recipes.minimal, "prune.encoder=null").prune == ()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed", "--set: expected path.to.key=value, such as prune.0.schedule.to=0.9"),
        ("a..b=1", "--set: expected path.to.key=value, such as prune.0.schedule.to=0.9"),
        ("prune.encoder.schedul.to=1", "--set: prune.0.schedul: unknown key, did you mean 'schedule'?"),
        ("prune.encodr.scope=local", "--set: prune.encodr: there is no rule 'encodr', did you mean 'encoder'?"),
        ("prune.1.scope=local", "--set: prune.1: there is no rule '1', only encoder"),
        ("seed.a=1", "--set: seed.a: 'seed' is a single value and has no keys: correct the path"),
        ("extends=x.yaml", "--set: extends: cannot be set: write it in a recipe file"),
        ("train={fp16: true, fp16: true}", "--set: train.fp16: duplicate key, first written on line 1"),
        (
            "prune.0.targets=*query",
            "--set: prune.0.targets: * begins a YAML alias, which recipes do not use: quote a pattern that begins",
        ),
    ],
)
def test_what_cannot_be_set_is_said(recipes, override, said):
    text = recipes.minimal + "seed: 1\n"
    problems = recipes.problems(text, override)
    assert len(problems) == 1 and problems[0].startswith(said)


def test_the_culprit_is_marked_in_the_argument(recipes):
    with pytest.raises(Exception) as caught:
        recipes.load(recipes.minimal, "prune.encoder.schedule.to=1.5")
    assert str(caught.value) == (
        "--set: prune.0.schedule.to: must be below 1, got 1.5\n"
        "      | prune.encoder.schedule.to=1.5\n"
        "      |                           ^^^"
    )
