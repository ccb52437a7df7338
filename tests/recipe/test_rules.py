"""Rules: what two keys of one rule say against each other, and criteria checked by their own dataclass."""

from __future__ import annotations

import pytest

from optkit.pruning.config import Random, Schedule, Taylor
from optkit.recipe.resolved import data


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            "{criterion: frozen, schedule: {to: 0.5}}",
            "6:29: prune.0.schedule: the criterion frozen keeps the zeros that are there and takes no schedule: remove it",
        ),
        ("{schedule: {from: 0.9, to: 0.5}}", "6:36: prune.0.schedule.to: sparsity must grow, but `from` is 0.9 and"),
        (
            "{schedule: {begin: 80%, end: 0.5}}",
            "6:38: prune.0.schedule.end: the schedule ends at 50%, before it begins",
        ),
        ("{schedule: {begin: 9, end: 5}}", "6:36: prune.0.schedule.end: the schedule ends at 5, before it begins at 9"),
        ("{schedule: {to: 100%}}", "6:25: prune.0.schedule.to: must be below 1, got 1"),
        ("{schedule: {begin: 5 %%}}", "6:28: prune.0.schedule.begin: '5 %%' is not a part of training"),
        ("{schedule: {every: 0}}", "6:28: prune.0.schedule.every: every must be at least 1 optimizer step, got 0"),
        ("{schedule: {shape: cubik}}", "6:28: prune.0.schedule.shape: unknown value 'cubik', did you mean 'cubic'?"),
        ("{structure: elemnt}", "6:21: prune.0.structure: unknown structure 'elemnt', did you mean 'element'?"),
        ("{structure: 0x4}", "6:21: prune.0.structure: unknown structure '0x4': write element, rows x columns"),
        ("{structure: 2:4, schedule: {to: 0.6}}", "6:26: prune.0.schedule: 2:4 reaches a sparsity of 0.5 and no more"),
        ("{structure: 4:4}", "6:21: prune.0.structure: N of N:M is above 0 and below M, got 4:4"),
        ("{structure: colum}", "6:21: prune.0.structure: unknown structure 'colum', did you mean 'column'?"),
        ("{scope: local, floor: 0.2}", "6:9: prune.0.ceiling: normalize, floor and ceiling compare layers"),
        ("{criterion: {name: movement, momentum: 2}}", "6:48: prune.0.criterion.momentum: momentum must be above 0"),
        ("{criterion: {name: movement, momentom: 1}}", "6:38: prune.0.criterion.momentom: unknown key, did you mean"),
        ("{criterion: {name: magnitude, momentum: 1}}", "6:39: prune.0.criterion.momentum: unknown key, one of name"),
        (
            "{criterion: {name: taylor, momentum: 1}}",
            "6:46: prune.0.criterion.momentum: momentum must be at least 0 and",
        ),
        ("{criterion: {name: obert, block: 0}}", "6:42: prune.0.criterion.block: block must hold between 1 and"),
        ("{criterion: {name: obert, block: 16x16}}", "6:42: prune.0.criterion.block: block must hold between 1 and"),
        (
            "{criterion: {name: obert, block: [4, 4]}}",
            "6:35: prune.0.criterion.block: block must be a number of inputs or RxC, such as 16 or 4x16, got [4, 4]",
        ),
        ("{criterion: {name: obert, damping: 0}}", "6:44: prune.0.criterion.damping: damping must be above 0, got 0"),
        ("{criterion: {name: random, seed: -1}}", "6:42: prune.0.criterion.seed: seed must be at least 0, got -1"),
        ("{criterion: {name: random, seed: 0.5}}", "6:42: prune.0.criterion.seed: expected a whole number, got 0.5"),
        (
            "{schedule: {jumps: 3}}",
            "6:28: prune.0.schedule.jumps: jumps belong to the shape stepwise, and this is cubic",
        ),
        ("{schedule: {shape: stepwise, jumps: 0}}", "6:45: prune.0.schedule.jumps: jumps must be at least 1, got 0"),
        ("{schedule: {shape: stepwis, jumps: 4}}", "6:28: prune.0.schedule.shape: unknown value 'stepwis', did you"),
        ("{criterion: {momentum: 1}}", "6:10: prune.0.criterion: a criterion needs its `name`, such as"),
        ("{criterion: 5}", "6:21: prune.0.criterion: expected a name or a mapping, got 5"),
        ("{targets: []}", "6:10: prune.0.targets: must not be empty"),
        ("{targets: [a, 're:(']}", "6:23: prune.0.targets.1: 're:(' is not a valid regular expression:"),
        ("{targets: [[ab]]}", "6:20: prune.0.targets.0: expected text, got a list; quote a pattern"),
        ("{name: 3x}", "6:16: prune.0.name: '3x' is not a valid name"),
    ],
)
def test_a_wrong_rule_is_one_fault_at_its_place(recipes, rule, said):
    head = recipes.minimal.split("prune:")[0]
    problems = recipes.problems(f"{head}prune: [{rule}]\n")
    assert len(problems) == 1 and problems[0].startswith(f"r.yaml:{said}")


def test_rules_have_names_of_their_own(recipes):
    head = recipes.minimal.split("prune:")[0]
    assert recipes.problems(f"{head}prune: [{{name: a}}, {{name: b}}, {{name: a}}]\n") == [
        "r.yaml:6:38: prune.2.name: two rules have the name 'a': rename one"
    ]


def test_spans_of_different_units_are_not_compared(recipes):
    head = recipes.minimal.split("prune:")[0]
    schedule = recipes.load(f"{head}prune: [{{schedule: {{begin: 100, end: 10%}}}}]\n").prune[0].schedule
    assert (schedule.begin.steps(5000, 500), schedule.end.steps(5000, 500)) == (100, 500)


def test_criteria_and_jumps_reach_the_rule_with_their_parameters(recipes):
    head = recipes.minimal.split("prune:")[0]
    rules = (
        "{criterion: {name: taylor, momentum: 95%}, schedule: {shape: stepwise, jumps: 3}}",
        "{criterion: {name: random, seed: 7}, schedule: {shape: stepwise}}",
        "{criterion: taylor, schedule: {shape: exponential}}",
    )
    recipe = recipes.load(f"{head}prune: [{', '.join(rules)}]\n")
    built = [rule.build() for rule in recipe.prune]
    assert [rule.criterion for rule in built] == [Taylor(0.95), Random(7), Taylor(0.9)]
    assert [rule.schedule.jumps for rule in built] == [3, 4, None]
    assert built[2].schedule == Schedule("exponential")
    written = [rule["schedule"].get("jumps", "left out") for rule in data(recipe)["prune"]]
    assert written == [3, 4, "left out"]
