"""Every criterion x structure x scope, trained for six steps with AdamW, momentum and weight decay: one suite for all.

A criterion, structure or scope that is added to the lists below is tested in every combination.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from optkit.errors import PruningError
from optkit.pruning.config import CRITERIA, SHAPES, Frozen, Rule, Schedule, Structure
from optkit.pruning.criteria import build
from optkit.pruning.pruner import Pruner, RuleState

STRUCTURES = ["element", "1x4", "4x1", "32x1", "2x3"]
#: The targets of the schedule below by the number of steps done: 0.7 - 0.6 * (1 - progress)^3 at steps 1, 3 and 5.
TARGETS = [0.0, 0.1, 0.1, 0.625, 0.625, 0.7, 0.7]
SCHEDULE = Schedule(initial=0.1, to=0.7, begin=1, end=5, every=2)
CHECKPOINT = 4
#: Weights (out, in) of one layer: their blocks come out odd at the targets, so local and global counts differ.
MATRICES = [(96, 96)] * 4 + [(192, 96), (96, 192)]
#: Share of the groups that are zero from the start where the criterion is frozen.
FROZEN = 0.3


@dataclass
class Run:
    """What a training of six steps left behind. Masks are True where a weight stays; ``weights`` are the masked ones."""

    rule: Rule
    original: nn.Module
    masks: list[dict[str, Tensor]]
    zeros_as_masked: list[bool]
    checkpoint: Path
    weights: dict[str, Tensor]
    accumulated: dict[str, Tensor]
    logits: Tensor
    states: list[RuleState]
    folded: nn.Module

    def counts(self, step: int) -> list[int]:
        """Pruned groups of each weight once ``step`` steps are done."""
        return [int((~blocks(mask, self.rule.structure).any(dim=2)).sum()) for mask in self.masks[step].values()]

    def groups(self) -> list[int]:
        return [
            mask.numel() // (self.rule.structure.rows * self.rule.structure.cols) for mask in self.masks[0].values()
        ]


def blocks(mask: Tensor, structure: Structure) -> Tensor:
    """Each block of ``mask`` (out, in) as a row: (out/R, in/C, R*C)."""
    return mask.unfold(0, structure.rows, structure.rows).unfold(1, structure.cols, structure.cols).flatten(2)


def zero_some_blocks(model: nn.Module, structure: Structure) -> None:
    generator = torch.Generator().manual_seed(3)
    for layer in encoder(model).values():
        rows, cols = layer.weight.shape[0] // structure.rows, layer.weight.shape[1] // structure.cols
        keep = torch.ones(rows * cols)
        keep[torch.randperm(rows * cols, generator=generator)[: round(FROZEN * rows * cols)]] = 0
        layer.weight.data *= torch.kron(keep.view(rows, cols), torch.ones(structure.rows, structure.cols))


def encoder(model: nn.Module) -> dict[str, nn.Linear]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and ".layer." in n}


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: layer.parametrizations.weight[0].mask.clone() for name, layer in encoder(model).items()}


def states_of(model: nn.Module) -> dict[str, Tensor]:
    """What the criterion accumulated, all layers'."""
    masks = {name: layer.parametrizations.weight[0] for name, layer in encoder(model).items()}
    return {
        f"{layer}.{name}": mask.get_buffer(name).clone()
        for layer, mask in masks.items()
        for name in mask.saved()
        if name != "mask"
    }


def batch(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"input_ids": torch.randint(0, 50, (2, 6), generator=generator), "labels": torch.tensor([0, 1])}


@pytest.fixture(scope="module")
def base(bert):
    return bert(hidden_size=96, intermediate_size=192)


@pytest.fixture(
    scope="module",
    params=product(CRITERIA, STRUCTURES, ["global", "local"]),
    ids=lambda p: "-".join(p),
)
def run(request, base, tmp_path_factory) -> Run:
    criterion, structure, scope = request.param
    schedule = None if criterion == Frozen.name else SCHEDULE
    rule = Rule(criterion=CRITERIA[criterion](), structure=structure, scope=scope, schedule=schedule)
    model = copy.deepcopy(base)
    if criterion == Frozen.name:
        zero_some_blocks(model, rule.structure)
    original = copy.deepcopy(model)
    folder = tmp_path_factory.mktemp("checkpoint")

    pruner = Pruner(model, [rule])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    pruner.start(total_steps=6, steps_per_epoch=6)
    pruner.update(0)
    masks, zeros_as_masked = [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for step in range(7):
            if step:
                model.train()(**batch(step)).loss.backward()
                pruner.observe()
                optimizer.step()
                optimizer.zero_grad()
                pruner.update(step)
            masks.append(masks_of(model))
            zeros_as_masked.append(
                all(torch.equal(layer.weight != 0, masks[-1][name]) for name, layer in encoder(model).items())
            )
            if step == CHECKPOINT:
                model.save_pretrained(folder)
                weights = {name: layer.weight.detach().clone() for name, layer in encoder(model).items()}
                accumulated = states_of(model)
                with torch.no_grad():
                    logits = model.eval()(**batch(9)).logits
    states = pruner.fold()
    return Run(rule, original, masks, zeros_as_masked, folder, weights, accumulated, logits, states, model)


def test_counts_are_exact_at_every_step(run):
    assert (
        run.groups()
        == [rows * cols // (run.rule.structure.rows * run.rule.structure.cols) for rows, cols in MATRICES] * 2
    )
    for step, target in enumerate(TARGETS):
        if run.rule.criterion == Frozen():
            assert run.counts(step) == [round(FROZEN * n) for n in run.groups()]
        elif run.rule.scope == "local":
            assert run.counts(step) == [round(target * n) for n in run.groups()]
        else:
            assert sum(run.counts(step)) == round(target * sum(run.groups()))


def test_blocks_are_pure(run):
    for masks in run.masks:
        for mask in masks.values():
            cells = blocks(mask, run.rule.structure)
            assert torch.equal(cells.all(dim=2), cells.any(dim=2))


def test_masks_nest_step_by_step(run):
    for before, after in zip(run.masks, run.masks[1:]):
        assert not any(bool((after[name] & ~before[name]).any()) for name in before)


def test_the_forward_pass_sees_zeros_exactly_where_masks_are_at_every_step(run):
    assert run.zeros_as_masked == [True] * 7


def test_folded_zeros_are_exact(run):
    masks = run.masks[-1]
    for name, layer in encoder(run.folded).items():
        assert int((layer.weight == 0).sum()) == int((~masks[name]).sum())
        assert torch.equal(layer.weight == 0, ~masks[name])
        assert not bool(torch.signbit(layer.weight[~masks[name]]).any())
    pruned = sum(run.counts(6))
    target = run.rule.schedule.to if run.rule.schedule else pruned / sum(run.groups())
    assert [(s.pruned, s.groups, s.target) for s in run.states] == [(pruned, sum(run.groups()), target)]


def test_the_folded_model_is_plain(run):
    layers = encoder(run.folded)
    assert sorted(run.folded.state_dict()) == sorted(run.original.state_dict())
    assert all(type(layer) is nn.Linear and isinstance(layer.weight, nn.Parameter) for layer in layers.values())
    assert not any(parametrize.is_parametrized(module) for module in run.folded.modules())
    assert not any(m._state_dict_hooks or m._load_state_dict_pre_hooks for m in layers.values())
    assert not list(run.folded.named_buffers())[len(list(run.original.named_buffers())) :]


def test_a_checkpoint_in_the_middle_loads_plainly_as_the_masked_dense_model(run):
    plain = type(run.original).from_pretrained(run.checkpoint).eval()
    assert sorted(plain.state_dict()) == sorted(run.original.state_dict())
    with torch.no_grad():
        assert torch.equal(plain(**batch(9)).logits, run.logits)
    for name, layer in encoder(plain).items():
        assert torch.equal(layer.weight == 0, ~run.masks[CHECKPOINT][name])
    assert not [name for name in load_file(run.checkpoint / "model.safetensors") if "parametrizations" in name]


def test_a_checkpoint_restores_masks_and_scores_bitwise(run, base):
    model = copy.deepcopy(base)
    Pruner(model, [run.rule])
    model.load_state_dict(load_file(run.checkpoint / "model.safetensors"), strict=True)
    masks, accumulated = masks_of(model), states_of(model)
    for name, layer in encoder(model).items():
        assert torch.equal(masks[name], run.masks[CHECKPOINT][name])
        assert torch.equal(layer.weight, run.weights[name])
    assert bool(accumulated) is bool(build(run.rule.criterion).watches)
    assert accumulated.keys() == run.accumulated.keys()
    assert all(bool(tensor.any()) and torch.equal(tensor, run.accumulated[n]) for n, tensor in accumulated.items())


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
    with pytest.raises(PruningError, match="layers.0.weight has a parametrization already: fold the earlier masks"):
        Pruner(model, [Rule()])


def test_diverged_weights_are_an_error(stack):
    model = stack((8, 8))
    model.layers[0].weight.data[0, 0] = torch.nan
    pruner = Pruner(model, [Rule(schedule=Schedule(shape="constant", to=0.5, begin=0))])
    pruner.start(1, 1)
    with pytest.raises(PruningError, match="scores hold NaN: training has diverged; lower train.learning_rate"):
        pruner.update(0)


@pytest.mark.parametrize("criterion", ["movement", "taylor"])
def test_a_criterion_that_watches_training_may_not_prune_before_the_first_step(stack, criterion):
    rule = Rule(criterion=CRITERIA[criterion](), schedule=Schedule(shape="constant", to=0.5, begin=0), name="early")
    with pytest.raises(
        PruningError, match=f"rule 'early': {criterion} has seen no step when the schedule prunes at step 0"
    ):
        Pruner(stack((8, 8)), [rule]).start(10, 10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - {Frozen.name}))
def test_counts_are_exact_at_every_step_of_every_shape(stack, criterion, shape):
    model = stack((8, 15), (16, 8))
    schedule = Schedule(shape, initial=0.1, to=0.7, begin=2, end=9, every=3)
    pruner = Pruner(model, [Rule(criterion=CRITERIA[criterion](), schedule=schedule)])
    pruner.start(10, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(1, 11):
        model(torch.linspace(-1, 1, 60).view(4, 15)).square().sum().backward()
        pruner.observe()
        optimizer.step()
        optimizer.zero_grad()
        pruner.update(step)
        assert sum(int((layer.weight == 0).sum()) for layer in model.layers) == round(pruner.target(step) * 248)
    assert pruner.fold()[0].pruned == 174


@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - {Frozen.name}))
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
        pruner.observe()
        optimizer.step()
        optimizer.zero_grad()
        pruner.update(step)
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
