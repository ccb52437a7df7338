"""What a rule may say, and the one line that refuses the rest."""

from __future__ import annotations

import pytest

from optkit.pruning.config import CRITERIA, Frozen, Magnitude, Movement, Random, Rule, Schedule, Span, Structure, Taylor


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("element", (1, 1, "block", 0)),
        ("1x4", (1, 4, "block", 0)),
        ("16x4", (16, 4, "block", 0)),
        ("32x1", (32, 1, "block", 0)),
        ("2x3", (2, 3, "block", 0)),
        ("row", (1, 1, "row", 0)),
        ("column", (1, 1, "column", 0)),
        ("2:4", (1, 4, "n:m", 2)),
        ("head", (1, 1, "head", 0)),
        ("neuron", (1, 1, "neuron", 0)),
        ("neuron:4", (4, 1, "neuron", 0)),
    ],
)
def test_structures_parse_and_print_as_they_are_written(text, fields):
    structure = Structure.parse(text)
    assert (structure.rows, structure.cols, structure.kind, structure.kept) == fields
    assert str(structure) == text


@pytest.mark.parametrize(
    "text", ["4", "x4", "0x4", "4x0", "1x4x4", "-1x4", "1 x 4", "rows", "", "123456x1", "neuron:0", "2:4:8", "head:2"]
)
def test_other_structures_are_refused(text):
    with pytest.raises(ValueError, match=f"unknown structure '{text}': write element, rows x columns"):
        Structure.parse(text)


@pytest.mark.parametrize("text", ["4:4", "0:4", "5:4"])
def test_n_of_m_keeps_some_and_not_all(text):
    with pytest.raises(ValueError, match=f"N of N:M is above 0 and below M, got {text}"):
        Structure.parse(text)


@pytest.mark.parametrize(
    ("fine", "coarse", "nests"),
    [
        ("element", "1x4", True),
        ("1x2", "1x4", True),
        ("1x4", "2x8", True),
        ("1x4", "4x1", False),
        ("1x4", "16x4", True),
        ("4x4", "16x4", True),
        ("16x4", "4x4", False),
        ("16x4", "neuron:16", True),
        ("16x4", "neuron:4", False),
        ("1x4", "1x2", False),
        ("1x4", "head", True),
        ("1x4", "neuron", False),
        ("1x4", "neuron:4", True),
        ("4x4", "neuron:8", True),
        ("1x8", "neuron:4", False),
        ("1x4", "row", True),
        ("2x4", "row", False),
        ("4x1", "column", True),
        ("1x4", "column", False),
        ("2:4", "head", True),
        ("2:4", "1x4", True),
        ("2:4", "1x2", False),
        ("2:4", "2:4", False),
        ("element", "2:4", True),
        ("element", "neuron", True),
        ("element", "element", False),
        ("row", "head", False),
        ("head", "neuron", False),
        ("head", "1x4", False),
        ("1x4", "element", False),
        ("1x4", "1x4", False),
    ],
)
def test_which_structures_nest(fine, coarse, nests):
    assert Structure.parse(fine).nests_in(Structure.parse(coarse)) is nests


@pytest.mark.parametrize(
    ("given", "steps", "text"),
    [
        ("5%", 10, "5%"),
        (0.05, 10, "5%"),
        (30, 30, "30"),
        ("1ep", 80, "1ep"),
        ("0.5ep", 40, "0.5ep"),
        ("12.5%", 25, "12.5%"),
    ],
)
def test_spans_become_optimizer_steps(given, steps, text):
    span = Span.parse(given)
    assert span.steps(total=200, per_epoch=80) == steps
    assert str(span) == text


@pytest.mark.parametrize("given", ["5", "ep", "-5%", "101%", 1.5, -1, True, "1 epoch", float("nan")])
def test_other_spans_are_refused(given):
    with pytest.raises(ValueError, match="is not a part of training: write 5%, a number of steps, or 1ep"):
        Span.parse(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shape": "cosine"}, "unknown schedule shape 'cosine': one of cubic, linear, exponential, stepwise, constant"),
        ({"initial": 0.9, "to": 0.8}, "sparsity must grow within [0, 1), got from 0.9 to 0.8"),
        ({"to": 1.0}, "sparsity must grow within [0, 1), got from 0 to 1"),
        ({"initial": -0.1}, "sparsity must grow within [0, 1), got from -0.1 to 0.8"),
        ({"every": 0}, "every must be at least 1 optimizer step, got 0"),
        ({"shape": "stepwise", "jumps": 0}, "jumps must be at least 1, got 0"),
        ({"jumps": 4}, "jumps belong to the shape stepwise, and this is cubic: remove them"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ValueError) as error:
        Schedule(**given)
    assert str(error.value) == message


def test_only_a_stepwise_schedule_has_jumps():
    assert Schedule(shape="stepwise").jumps == 4 and Schedule(shape="stepwise", jumps=7).jumps == 7
    assert Schedule().jumps is None


@pytest.mark.parametrize("momentum", [1.0, -0.5, 1.1, float("nan")])
def test_taylor_refuses_a_momentum_outside_its_range(momentum):
    with pytest.raises(ValueError, match="momentum must be at least 0 and below 1"):
        Taylor(momentum=momentum)


def test_random_refuses_a_seed_below_zero():
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        Random(seed=-1)


@pytest.mark.parametrize("momentum", [0.0, -0.5, 1.1, float("nan")])
def test_movement_refuses_a_momentum_outside_its_range(momentum):
    with pytest.raises(ValueError, match="momentum must be above 0 and at most 1"):
        Movement(momentum=momentum)


@pytest.mark.parametrize("saliency", [-1.0, float("inf"), float("nan")])
def test_movement_refuses_a_saliency_outside_its_range(saliency):
    with pytest.raises(ValueError, match="saliency must be at least 0"):
        Movement(saliency=saliency)


def test_a_rule_takes_texts_and_fills_in_a_schedule():
    rule = Rule(targets="*.query", exclude=["a", "b"], structure="4x1")
    assert rule.targets == ("*.query",) and rule.exclude == ("a", "b")
    assert rule.structure == Structure(4, 1)
    assert rule.schedule == Schedule() and rule.criterion == Magnitude()


def test_a_rule_takes_the_name_of_a_criterion():
    assert Rule(criterion="movement").criterion == Movement()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"criterion": "movment"}, "unknown criterion 'movment', did you mean 'movement'?"),
        ({"criterion": Movement}, "criterion is one such as Movement"),
        ({"schedule": 0.5}, "schedule is a Schedule, such as Schedule"),
        ({"targets": ()}, "targets names no layer: write encoder_linear"),
    ],
)
def test_a_rule_refuses_what_is_of_another_type(given, message):
    with pytest.raises(ValueError, match=message):
        Rule(**given)


def test_frozen_takes_no_schedule_and_others_always_have_one():
    assert Rule(criterion=Frozen()).schedule is None
    with pytest.raises(ValueError, match="frozen keeps the zeros that are there and takes no schedule: remove it"):
        Rule(criterion=Frozen(), schedule=Schedule())


def test_a_rule_refuses_another_scope():
    with pytest.raises(ValueError, match="scope is global or local, got 'layer'"):
        Rule(scope="layer")


def test_every_criterion_is_listed_under_its_own_name_with_its_paper():
    assert {"magnitude", "movement", "obert", "random"} < set(CRITERIA)
    assert all(CRITERIA[name].name == name and "https://arxiv.org/abs/" in CRITERIA[name].paper for name in CRITERIA)


def test_n_of_m_ends_where_it_can_and_is_refused_beyond():
    assert Rule(structure="2:4").schedule.to == 0.5 and Rule(structure="1:4").schedule.to == 0.75
    with pytest.raises(ValueError, match="2:4 reaches a sparsity of 0.5 and no more, `to` is 0.6"):
        Rule(structure="2:4", schedule=Schedule(to=0.6))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scope": "local", "floor": 0.1}, "normalize, floor and ceiling compare layers, and scope local does not"),
        ({"scope": "local", "normalize": True}, "normalize, floor and ceiling compare layers"),
        ({"floor": 0.9}, "the sparsity 0.8 must lie between floor 0.9 and ceiling 1"),
        ({"ceiling": 0.7}, "the sparsity 0.8 must lie between floor 0 and ceiling 0.7"),
        ({"ceiling": 1.5}, "the sparsity 0.8 must lie between floor 0 and ceiling 1.5, within"),
    ],
)
def test_bounds_without_meaning_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Rule(**given)
