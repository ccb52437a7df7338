"""Models that are sparse already: their zeros stay through training and one shot, and targets count them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainerCallback

from optkit.allocation.curves import bound_curve, bound_curves
from optkit.errors import PlanError, PruningError
from optkit.pipeline.validate import make_plan
from optkit.pruning import (
    Frozen,
    Magnitude,
    Movement,
    Obert,
    Pruner,
    PruningCallback,
    Reconstruction,
    Rule,
    Schedule,
    SoftMovement,
    Taylor,
    one_shot,
)
from optkit.pruning.allocation import sensitivity
from optkit.pruning.targets import resolve_targets
from optkit.recipe import load_recipe

BATCH = {"input_ids": torch.arange(8).view(1, 8)}
LATE = Schedule(to=0.9, begin=4, end=8, every=2)


def sparse(bert, structure: str = "1x4", to: float = 0.7, scope: str = "global"):
    """A BERT of which ``to`` of the encoder's groups are zero, and where."""
    model = bert()
    one_shot(model, Rule(structure=structure, scope=scope, schedule=Schedule(to=to)), [BATCH])
    return model, {name: layer.weight == 0 for name, layer in resolve_targets(model, Rule()).items()}


def alive(model: nn.Module, zeros: dict) -> int:
    layers = resolve_targets(model, Rule())
    return sum(int((layers[name].weight[where] != 0).sum()) for name, where in zeros.items())


def share(model: nn.Module) -> float:
    weights = [layer.weight for layer in resolve_targets(model, Rule()).values()]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


class Watch(TrainerCallback):
    def __init__(self, zeros: dict):
        self.zeros, self.most = zeros, 0

    def on_step_end(self, args, state, control, model, **kwargs):
        self.most = max(self.most, alive(model, self.zeros))


@pytest.fixture
def train(rows, arguments, tmp_path):
    def build(model, rules, *callbacks, **given):
        pruning = PruningCallback(rules)
        args = arguments(tmp_path, learning_rate=5e-3, **given)
        made = Trainer(model, args, train_dataset=rows(24), callbacks=[pruning, *callbacks])
        made.pruning = pruning
        return made

    return build


@pytest.mark.parametrize("criterion", [Magnitude(), Movement(), Taylor(), Obert(), SoftMovement()])
@pytest.mark.parametrize(
    ("before", "structure", "scope"),
    [("1x4", "1x4", "global"), ("element", "1x4", "local"), ("1x4", "element", "global"), ("head", "1x4", "global")],
)
def test_zeros_stay_from_the_first_step_to_the_last(bert, train, criterion, before, structure, scope):
    model, zeros = sparse(bert, before, 0.5)
    watch = Watch(zeros)
    made = train(model, Rule(criterion=criterion, structure=structure, scope=scope, schedule=LATE), watch)
    made.train()
    state = made.pruning.fold()[0]
    assert watch.most == 0 and alive(model, zeros) == 0
    assert state.pruned == pytest.approx(0.9 * state.groups, abs=6)  # local scope rounds in each of 12 layers
    assert share(model) > 0.899


def test_soft_movement_still_lets_its_own_zeros_return(bert):
    model, zeros = sparse(bert, "1x4", 0.5)
    pruner = Pruner(model, [Rule(criterion=SoftMovement(), structure="1x4", schedule=LATE)])
    masks = {name: layer.parametrizations.weight[0] for name, layer in resolve_targets(model, Rule()).items()}
    assert all(
        torch.equal(mask.held, zeros[name]) and torch.equal(mask.free, ~zeros[name]) for name, mask in masks.items()
    )
    assert pruner.sparsity() == pytest.approx(0.5, abs=1e-3)


def test_regrow_lets_them_return(bert, train):
    model, zeros = sparse(bert, to=0.5)
    watch = Watch(zeros)
    made = train(model, Rule(structure="1x4", regrow=True, schedule=LATE), watch)
    assert made.pruning.pruner.notes == ["50.0 % of weights are zero already and may return (regrow: true)"]
    made.train()
    assert watch.most > 0


@pytest.mark.parametrize("order", [1, -1])
def test_frozen_zeros_and_a_rule_beside_them(bert, train, order):
    model, zeros = sparse(bert)
    rules = [Rule(structure="1x4", schedule=LATE), Rule(name="keep", criterion=Frozen())]
    made = train(model, rules[::order])
    made.train()
    made.pruning.fold()
    assert alive(model, zeros) == 0 and share(model) == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("criterion", [Magnitude(), Reconstruction(), Obert(), Frozen()])
def test_one_shot_keeps_them(bert, rows, criterion):
    model, zeros = sparse(bert)
    batch = {name: torch.stack([torch.as_tensor(row[name]) for row in rows(8)]) for name in rows(1)[0]}
    schedule = None if isinstance(criterion, Frozen) else Schedule(to=0.9)
    one_shot(model, Rule(criterion=criterion, structure="1x4", schedule=schedule), [batch])
    assert alive(model, zeros) == 0
    assert share(model) == pytest.approx(0.7 if schedule is None else 0.9, abs=1e-3)


def test_a_resumed_training_keeps_them(bert, train, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 2}
    model, zeros = sparse(bert)
    whole = train(model, Rule(structure="1x4", schedule=LATE), **saving)
    whole.train()
    again, _ = sparse(bert)
    resumed = train(again, Rule(structure="1x4", schedule=LATE), **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for made in (whole, resumed):
        made.pruning.fold()
    assert alive(again, zeros) == 0
    expected = model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("structure", ["element", "1x4"])
def test_a_target_that_other_blocks_rounded_up_is_reached_with_what_is_there(bert, train, scope, structure):
    model, zeros = sparse(bert, "1x8", 0.6, scope)
    assert 0.6 < share(model) < 0.605
    made = train(model, Rule(structure=structure, scope=scope, schedule=replace(LATE, to=0.6)))
    made.train()
    made.pruning.fold()
    assert alive(model, zeros) == 0
    assert 0.6 < share(model) < 0.605


@pytest.mark.parametrize(("scope", "where"), [("global", ""), ("local", "bert.encoder.layer.")])
def test_a_target_below_what_is_there_is_refused_with_both_numbers(bert, scope, where):
    model, _ = sparse(bert)
    with pytest.raises(PruningError) as error:
        Pruner(model, [Rule(structure="1x4", scope=scope, schedule=Schedule(to=0.5))])
    assert str(error.value).startswith(f"rule 'weights': {where}")
    assert " % of its weights are zero already, and `to` is 50.0 %: raise `to`, or let weights return" in str(
        error.value
    )
    with pytest.raises(PruningError, match="70.0 % of its weights are zero already, and `to` is 50.0 %"):
        one_shot(model, Rule(structure="1x4", schedule=Schedule(to=0.5)), [BATCH])
    Pruner(model, [Rule(structure="1x4", schedule=Schedule(to=0.7))])


def test_a_layer_may_be_above_a_target_by_what_another_rule_takes_of_it(bert):
    """Neurons that go together are not spread evenly: a layer may lose more of them than its blocks are to lose."""
    model = bert()
    with torch.no_grad():
        model.bert.encoder.layer[0].intermediate.dense.weight *= 0.01
    neurons = Rule(name="neurons", structure="neuron:4", schedule=Schedule("constant", to=0.4, begin=0))
    one_shot(model, neurons, [BATCH])
    zeros = {name: layer.weight == 0 for name, layer in resolve_targets(model, Rule()).items()}
    (first,) = (where for name, where in zeros.items() if name.endswith("layer.0.intermediate.dense"))
    assert 0.75 < first.float().mean() < 1.0
    blocks = Rule(name="blocks", structure="1x4", scope="local", schedule=Schedule("constant", to=0.7, begin=0))
    with pytest.raises(PruningError, match=r"layer.0.intermediate.dense: .* zero already, and `to` is 70.0 %"):
        Pruner(model, [blocks])
    pruner = Pruner(model, [neurons, blocks])
    pruner.start(4, 4)
    pruner.update(0)
    pruner.fold()
    assert alive(model, zeros) == 0
    for name, layer in resolve_targets(model, Rule()).items():
        before, after = zeros[name].float().mean(), (layer.weight == 0).float().mean()
        assert after == pytest.approx(max(float(before), 0.7), abs=0.01), name


def test_a_floor_that_former_zeros_leave_no_room_for_is_told(stack):
    model = stack((10, 10), (10, 10))
    model.layers[0].weight.data.view(-1)[:90] = 0.0
    rule = Rule(floor=0.3, schedule=Schedule("constant", to=0.5, begin=0))
    with pytest.raises(PruningError) as error:
        Pruner(model, [rule])
    assert str(error.value) == (
        "rule 'weights': the zeros that are there and a floor of 30.0 % are 60.0 % of its weights, and `to` is 50.0 %: "
        "lower the floor, or raise `to`"
    )
    Pruner(model, [replace(rule, floor=0.1)])


def test_an_allocation_rounds_bounds_outwards_where_there_is_no_room():
    """Of two layers of four heads, 60 % are five: with at most 70 % of each, three of one have to go."""
    curves = [sensitivity.Curve("layer", 4, (0, 1, 2, 3, 4), (0.0, 1.0, 2.0, 3.0, 4.0))] * 2
    rule = Rule(structure="head", schedule=Schedule(to=0.6), floor=0.3, ceiling=0.7)
    for count, least, most in ((4, 2, 2), (5, 1, 3)):
        found = [(curve.counts[0], curve.counts[-1]) for curve in bound_curves(curves, rule, count)]
        assert found == [(least, most)] * 2


def test_an_allocation_takes_no_less_than_what_is_there(bert):
    model, _ = sparse(bert)
    rule = Rule(structure="1x4", schedule=Schedule(to=0.8))
    curves = sensitivity.measure(model.eval(), rule, [BATCH], [0.5, 0.8, 0.95])
    there = {
        name: int((~layer.weight.view(-1, 4).any(1)).sum()) for name, layer in resolve_targets(model, rule).items()
    }
    assert {curve.name: curve.counts[0] for curve in curves} == there
    assert all(bound_curve(curve, rule).counts[0] == there[curve.name] for curve in curves)
    # Chosen on another model: each layer keeps what it has.
    shares = tuple((name, 0.6) for name in there)
    pruner = Pruner(model, [replace(rule, schedule=Schedule("constant", to=0.6, begin=0), shares=shares)])
    pruner.start(1, 1)
    pruner.update(0)
    counts = [layer.weight.numel() // 4 for layer in resolve_targets(model, rule).values()]
    expected = sum(max(round(0.6 * count), own) for count, own in zip(counts, there.values(), strict=True))
    assert pruner.fold()[0].pruned == expected > round(0.6 * sum(counts))


def test_a_dense_model_with_stray_zeros_gets_no_masks(bert):
    model = bert()
    model.bert.encoder.layer[0].output.dense.weight.data[3, :12] = 0.0
    pruner = Pruner(model, [Rule(structure="1x4", schedule=LATE)])
    assert pruner.notes == [] and pruner.sparsity() == 0.0


def test_a_layer_that_is_zero_throughout_among_dense_ones_is_trained(bert, train):
    model = bert()
    blank = model.bert.encoder.layer[1].output.dense
    blank.weight.data.zero_()
    made = train(model, Rule(schedule=Schedule(to=0.1, begin=4, end=8)))
    said = "bert.encoder.layer.1.output.dense is zero throughout, taken for initialized so and not for pruned"
    assert made.pruning.pruner.notes == [said] and made.pruning.pruner.sparsity() == 0.0
    made.train()
    assert bool((blank.weight != 0).any())


def test_a_layer_that_is_zero_throughout_among_sparse_ones_was_pruned(bert):
    model, zeros = sparse(bert)
    model.bert.encoder.layer[1].output.dense.weight.data.zero_()
    pruner = Pruner(model, [Rule(structure="1x4", schedule=LATE)])
    assert pruner.sparsity() > 0.7 and not bool(
        model.bert.encoder.layer[1].output.dense.parametrizations.weight[0].mask.any()
    )


def test_zeros_that_no_rule_matches_are_named(bert, train):
    model, _ = sparse(bert)
    notes = train(model, Rule(structure="1x4", targets=["*attention*"], schedule=LATE)).pruning.pruner.notes
    assert notes[-1] == (
        "bert.encoder.layer.0.intermediate.dense and 3 more layers have zeros, and no rule matches them, so training "
        "gives them values again: keep them by a rule with criterion: frozen"
    )
    model, _ = sparse(bert)
    model.bert.encoder.layer.requires_grad_(False)
    model.bert.encoder.layer[0].attention.requires_grad_(True)
    first = Rule(structure="1x4", targets=["*layer.0.attention*"], schedule=LATE)
    assert "no rule matches" not in " ".join(train(model, first).pruning.pruner.notes)
    dense = train(bert(), Rule(structure="1x4", targets=["*attention*"], schedule=LATE))
    assert dense.pruning.pruner.notes == []


def test_the_plan_says_what_stays_and_refuses_targets_below(bert, files_recipe, tiny_checkpoint, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint)
    one_shot(model, Rule(schedule=Schedule(to=0.7)), [BATCH])
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
    given = [f"model.name={tmp_path}", "prune=[{name: encoder, schedule: {to: 0.9}}]"]
    assert "70.0 % of encoder are zero already and stay" in make_plan(load_recipe(files_recipe, given)).notes
    loose = "bert.encoder.layer.0.intermediate.dense and 3 more layers have zeros, and no rule matches them"
    attention = "{targets: ['*attention*'], schedule: {to: 0.9}}"
    for rules, said in ((attention, True), (f"{attention}, {{criterion: frozen}}", False), ("", True)):
        given[1] = f"prune=[{rules}]"
        found = [note for note in make_plan(load_recipe(files_recipe, given)).notes if "no rule matches" in note]
        assert len(found) == said and (not found or found[0].startswith(loose if rules else "bert.encoder.layer.0."))
    given[1] = "prune=[{schedule: {to: 0.5}}]"
    with pytest.raises(
        PlanError, match=r"prune.0.schedule.to: .*70.0 % of its weights are zero already, and `to` is 50.0"
    ):
        make_plan(load_recipe(files_recipe, given))
