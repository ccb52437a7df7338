"""Masks on a model over a training: ties, shared layers, nested rules, folding, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from optimizer_steps import finish_step
from torch import Tensor

from optkit.errors import PruningError
from optkit.pruning.config import CRITERIA, ONE_SHOT, SHAPES, Frozen, Rule, Schedule, Structure
from optkit.pruning.criteria import build
from optkit.pruning.masking import WeightMask
from optkit.pruning.pruner import Pruner

STRUCTURES = ["element", "1x4", "4x1", "32x1", "2x3"]
SCHEDULED = sorted(name for name, c in CRITERIA.items() if c not in (Frozen, *ONE_SHOT))
#: Criteria that never let a weight return by themselves.
LASTING = [name for name in SCHEDULED if not build(CRITERIA[name]()).revives]


def blocks(mask: Tensor, structure: Structure) -> Tensor:
    """Each block of ``mask`` (out, in) as a row: (out/R, in/C, R*C)."""
    return mask.unfold(0, structure.rows, structure.rows).unfold(1, structure.cols, structure.cols).flatten(2)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_equal_scores_go_by_the_lowest_flat_index(stack, structure):
    model = stack((96, 24))
    model.layers[0].weight.data.fill_(0.5)
    schedule = Schedule(shape="constant", to=0.25, begin=0)
    pruner = Pruner(model, [Rule(structure=structure, schedule=schedule)])
    pruner.start(1, 1)
    pruner.update(0)
    dead = ~blocks(model.layers[0].parametrizations.weight[0].mask, Structure.parse(structure)).any(dim=2).flatten()
    count = round(0.25 * dead.numel())
    assert dead.tolist() == [True] * count + [False] * (dead.numel() - count)


def test_sparsity_and_target_are_of_the_same_weights(stack):
    model = stack((8, 8), (8, 8))
    model.layers[1].weight.data[:2] = 0
    schedule = Schedule(shape="linear", to=0.5, begin=0, end=4, every=1)
    rules = [Rule(targets="layers.0", schedule=schedule), Rule(targets="layers.1", criterion=Frozen(), name="kept")]
    pruner = Pruner(model, rules)
    pruner.start(4, 4)
    for step, target in enumerate([0.0, 0.125, 0.25, 0.375, 0.5]):
        pruner.update(step)
        assert pruner.target(step) == pytest.approx((target + 0.25) / 2, abs=1e-12) == pruner.sparsity()
        assert pruner.at_target(step) is (step == 4)


def test_a_shared_layer_is_masked_wherever_it_is_used(stack):
    model = stack((8, 8))
    model.layers.append(model.layers[0])
    pruner = Pruner(model, [Rule(schedule=Schedule(shape="constant", to=0.5, begin=0))])
    pruner.start(1, 1)
    pruner.update(0)
    state = model.state_dict()
    assert torch.equal(state["layers.0.weight"], state["layers.1.weight"])
    assert [(s.groups, s.pruned) for s in pruner.fold()] == [(64, 32)]
    assert model.layers[0] is model.layers[1]
    assert sorted(model.state_dict()) == [f"layers.{i}.{part}" for i in (0, 1) for part in ("bias", "weight")]


def test_folding_before_the_target_is_refused_and_leaves_the_masks(stack):
    model = stack((8, 8))
    pruner = Pruner(model, [Rule(schedule=Schedule(shape="linear", to=0.5, begin=0, end=4, every=2))])
    with pytest.raises(PruningError, match="rule 'weights' was never started: train first"):
        pruner.fold()
    pruner.start(4, 4)
    pruner.update(2)
    with pytest.raises(PruningError) as error:
        pruner.fold()
    assert str(error.value) == (
        "rule 'weights' ended with 16 of 64 groups pruned, and 32 were asked for: train to step 4, where its schedule ends"
    )
    assert int((model.layers[0].weight == 0).sum()) == 16
    pruner.update(4)
    assert pruner.fold()[0].pruned == 32


def test_a_model_that_carries_masks_already_is_refused(stack):
    model = stack((8, 8))
    Pruner(model, [Rule()])
    with pytest.raises(PruningError, match="layers.0.weight has a mask already: fold the earlier masks"):
        Pruner(model, [Rule()])


def test_diverged_weights_are_an_error(stack):
    model = stack((8, 8))
    model.layers[0].weight.data[0, 0] = torch.nan
    pruner = Pruner(model, [Rule(schedule=Schedule(shape="constant", to=0.5, begin=0))])
    pruner.start(1, 1)
    with pytest.raises(PruningError, match="scores hold NaN: training has diverged; lower train.learning_rate"):
        pruner.update(0)


@pytest.mark.parametrize("criterion", [name for name in SCHEDULED if build(CRITERIA[name]()).watches])
def test_a_criterion_that_watches_training_may_not_prune_before_the_first_step(stack, criterion):
    rule = Rule(criterion=CRITERIA[criterion](), schedule=Schedule(shape="constant", to=0.5, begin=0), name="early")
    with pytest.raises(
        PruningError, match=f"rule 'early': {criterion} has seen no step when the schedule prunes at step 0"
    ):
        Pruner(stack((8, 8)), [rule]).start(10, 10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("criterion", LASTING)
def test_counts_are_exact_at_every_step_of_every_shape(stack, criterion, shape):
    model = stack((8, 15), (16, 8))
    schedule = Schedule(shape, initial=0.1, to=0.7, begin=2, end=9, every=3)
    pruner = Pruner(model, [Rule(criterion=CRITERIA[criterion](), schedule=schedule)])
    pruner.start(10, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(1, 11):
        model(torch.linspace(-1, 1, 60).view(4, 15)).square().sum().backward()
        finish_step(pruner, optimizer, step)
        assert sum(int((layer.weight == 0).sum()) for layer in model.layers) == round(pruner.target(step) * 248)
    assert pruner.fold()[0].pruned == 174


@pytest.mark.parametrize("criterion", LASTING)
def test_nested_rules_prune_blocks_and_then_weights_in_those_that_stay(stack, criterion):
    model = stack((8, 16), (16, 8))
    schedule = {"shape": "linear", "begin": 1, "end": 5, "every": 2}
    rules = [
        Rule(structure="1x4", criterion=CRITERIA[criterion](), schedule=Schedule(to=0.5, **schedule), name="blocks"),
        Rule(criterion=CRITERIA[criterion](), schedule=Schedule(to=0.75, **schedule), name="inside"),
    ]
    pruner = Pruner(model, rules)
    pruner.start(6, 6)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)
    counts, before = [], 0
    for step in range(1, 7):
        model(torch.linspace(-1, 1, 64).view(4, 16)).square().sum().backward()
        finish_step(pruner, optimizer, step)
        dead = torch.cat([~layer.parametrizations.weight[0].mask.view(-1, 4) for layer in model.layers])
        counts.append((int(dead.all(dim=1).sum()), int(dead.sum())))
        assert not bool((before & ~dead).any())
        before = dead
    # Of 64 blocks, and of 256 weights; a whole block of them may go weight by weight, too.
    assert [weights for _, weights in counts] == [0, 0, 96, 96, 192, 192]
    assert counts[2][0] >= 16 and counts[4][0] >= 32
    states = pruner.fold()
    assert [s.name for s in states] == ["blocks", "inside"] and states[1].pruned == 192


def test_a_block_is_ranked_by_the_weights_that_remain_in_it(stack):
    model = stack((1, 12))
    model.layers[0].weight.data = torch.tensor([[0.1, 0.1, 0.1, 7.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0]])
    constant = {"shape": "constant"}
    rules = [
        Rule(structure="1x4", schedule=Schedule(to=1 / 3, begin=2, **constant)),
        Rule(schedule=Schedule(to=0.25, begin=1, **constant)),
    ]
    pruner = Pruner(model, rules)
    pruner.start(2, 2)
    pruner.update(1)
    # A raw weight under the mask goes its own way under momentum, and is zero after a resume: it must not count.
    model.layers[0].parametrizations.weight.original.data[0, 0] = -50.0
    pruner.update(2)
    assert model.layers[0].parametrizations.weight[0].mask.tolist() == [[False] * 4 + [True] * 8]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_masking_is_where_to_the_bit(dtype):
    """As is its gradient, and its gradient's gradient."""
    torch.manual_seed(0)
    weight = torch.randn(8, 6, dtype=dtype)
    weight[0] = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0, 0.0, -1.0])
    weight.requires_grad_()
    mask = WeightMask(weight.detach(), regrow=False)
    slope = torch.randn(6, 8, dtype=dtype, requires_grad=True)
    for _ in range(2):  # the mask changes in place between
        mask.mask.copy_(torch.rand(8, 6) < 0.5)
        mask.mask[0] = torch.tensor([False, True, False, False, True, False])
        expected = torch.where(mask.mask, weight, torch.zeros((), dtype=dtype))
        found = mask(weight)
        assert torch.equal(_bits(found), _bits(expected))
        ours, theirs = (torch.autograd.grad(x, weight, slope.T, create_graph=True)[0] for x in (found, expected))
        assert torch.equal(_bits(ours), _bits(theirs))
        assert torch.equal(torch.autograd.grad(ours.sum(), slope)[0], mask.mask.T.to(dtype))


def test_a_mask_that_is_replaced_loaded_or_copied_is_the_one_that_holds():
    weight = torch.ones(4, 4, requires_grad=True)
    mask = WeightMask(weight.detach(), regrow=False)
    assert mask(weight).all()
    other = copy.deepcopy(mask)
    other.mask[0] = False
    assert mask(weight).all() and not other(weight)[0].any()
    mask.mask = torch.zeros(4, 4, dtype=torch.bool)
    assert not mask(weight).any()
    mask.load_state_dict(other.state_dict())
    assert torch.equal(mask(weight) != 0, other.mask)
    assert torch.equal(mask.double()(weight.double()) != 0, other.mask)


def _bits(values):
    return values.detach().contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[values.itemsize])
