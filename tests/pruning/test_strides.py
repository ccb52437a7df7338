"""Weights that are not contiguous in memory are pruned as those that are, by every criterion in every structure."""

from __future__ import annotations

import pytest
import torch
from optimizer_steps import finish_step
from torch import nn

from optkit.pruning import Pruner, Rule, Schedule, one_shot
from optkit.pruning.allocation import sensitivity
from optkit.pruning.config import CRITERIA
from optkit.pruning.config.criteria import ONE_SHOT

STRUCTURES = ("element", "1x4", "4x1", "row", "column", "2:4", "head", "neuron:4")


def transposed(model: nn.Module) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.weight = nn.Parameter(layer.weight.detach().t().contiguous().t())
    return model


def spread_out(model: nn.Module) -> nn.Module:
    """Every second number of a larger tensor."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.weight = nn.Parameter(layer.weight.detach().repeat_interleave(2, dim=1)[:, ::2])
    return model


def batches() -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 50, (2, 4, 8), generator=generator)
    whole = torch.ones(4, 8, dtype=torch.long)
    return [{"input_ids": row, "attention_mask": whole, "labels": torch.tensor([0, 1, 0, 1])} for row in ids]


def trained(model: nn.Module, rule: Rule) -> None:
    pruner, optimizer = Pruner(model, [rule]), torch.optim.SGD(model.parameters(), 0.05)
    torch.manual_seed(0)
    model.train()
    pruner.start(3, 3)
    pruner.update(0)
    for step in range(3):
        model(**batches()[step % 2]).loss.backward()
        finish_step(pruner, optimizer, step + 1)
    pruner.fold()


def rule_of(criterion: str, structure: str) -> Rule | None:
    schedule = Schedule(to=0.5, begin=0 if criterion in ("magnitude", "random") else 1, end=3, every=1)
    try:
        return Rule(criterion=CRITERIA[criterion](), structure=structure, schedule=schedule)
    except ValueError:
        return None


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - {"frozen"}))
def test_zeros_do_not_depend_on_the_order_in_memory(bert, criterion, structure):
    rule = rule_of(criterion, structure)
    if rule is None:
        return
    ways = [] if isinstance(rule.criterion, ONE_SHOT) else [trained]
    if criterion not in ("movement", "soft_movement"):
        ways.append(lambda model, rule: one_shot(model, rule, batches()))
    for way in ways:
        plain, other = bert().eval(), transposed(bert().eval())
        for model in (plain, other):
            way(model, rule)
        expected = dict(plain.named_parameters())
        for name, weight in other.named_parameters():
            assert torch.equal(weight == 0, expected[name] == 0), name


@pytest.mark.parametrize("change", [transposed, spread_out])
def test_a_layer_is_laid_out_before_it_is_masked(bert, change):
    model = change(bert())
    assert not model.bert.encoder.layer[0].attention.self.query.weight.is_contiguous()
    one_shot(model, Rule(structure="2:4", schedule=Schedule(to=0.5)), batches())
    assert model.bert.encoder.layer[0].attention.self.query.weight.is_contiguous()


def test_sensitivity_takes_them_as_they_come(bert):
    rule, inputs = Rule(structure="2:4", schedule=Schedule(to=0.5)), [{**batch} for batch in batches()]
    curves = [sensitivity.measure(model.eval(), rule, inputs, [0.5]) for model in (bert(), transposed(bert()))]
    losses = [[loss for curve in found for loss in curve.losses] for found in curves]
    assert losses[0] == pytest.approx(losses[1]) and max(losses[0]) > 0
