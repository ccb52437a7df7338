"""Criteria, structures, scopes and schedules in combination, each trained for six steps with AdamW, momentum, weight
decay and dropout: one suite for all. Every pair of values of any two of them occurs in some run.

A criterion, structure, scope or schedule that is added to the lists below is tested with all others.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import pytest
import torch
from optimizer_steps import finish_step
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from optkit.pruning.config import CRITERIA, ONE_SHOT, SHAPES, Frozen, Rule, Schedule, Structure
from optkit.pruning.criteria import build
from optkit.pruning.pruner import Pruner, RuleState

TRAINING = [name for name, criterion in CRITERIA.items() if criterion not in ONE_SHOT]
STRUCTURES = ["element", "1x4", "4x1", "16x4", "2x3", "row", "column", "2:4", "head", "neuron", "neuron:4"]
SCOPES = ["global", "local"]
#: Share of the groups that is pruned at step 3, half way from 0.1 at step 1 to 0.7 at step 5; see ``shares``.
HALF_WAY = {"cubic": 0.625, "linear": 0.4, "stepwise": 0.4}
STEPS, CHECKPOINT = 6, 3
#: Share of the groups that are zero from the start where the criterion is frozen.
FROZEN = 0.3
HIDDEN, INNER, HEADS = 48, 96, 4


def combination(i: int, j: int) -> tuple[str, str, str, str]:
    """Criterion i with structure j; scope and schedule go round, out of step with both."""
    criterion = TRAINING[i]
    shape = "none" if criterion == Frozen.name else SHAPES[(i + 2 * j) % len(SHAPES)]
    return criterion, STRUCTURES[j], SCOPES[(i + j + j // len(SHAPES)) % 2], shape


COMBINATIONS = [combination(i, j) for i, j in product(range(len(TRAINING)), range(len(STRUCTURES)))]


def shares(shape: str, most: float) -> list[float]:
    """Share of the groups that is pruned after 0 to 6 steps, with a change of the masks every 2; ``most`` of the
    weights are zero when all groups are pruned.
    """
    if shape == "constant":
        return [0.0] + [0.7] * 6
    # The exponential schedule keeps the geometric mean of the densities at both ends.
    half = HALF_WAY.get(shape, (1 - ((1 - 0.1 * most) * (1 - 0.7 * most)) ** 0.5) / most)
    return [0.0, 0.1, 0.1, half, half, 0.7, 0.7]


@dataclass
class Run:
    """What a training left behind. Masks are True where a weight stays; lists hold one entry for each number of steps
    from 0 on.
    """

    rule: Rule
    shares: list[float] | None
    original: nn.Module
    masks: list[dict[str, Tensor]]
    zeros_as_masked: list[bool]
    checkpoint: Path
    logits: Tensor
    end: dict[str, Tensor]
    resumed: dict[str, Tensor]
    states: list[RuleState]
    folded: nn.Module

    def sites(self) -> dict[str, dict[str, Tensor]]:
        return sites(self.folded, self.rule.structure)

    def pruned(self, step: int) -> list[int]:
        """Pruned groups of each site once ``step`` steps are done."""
        kept = self.rule.structure.kept
        counts = []
        for members in self.sites().values():
            living = sum(
                torch.bincount(groups[groups >= 0], weights=self.masks[step][name][groups >= 0].double())
                for name, groups in members.items()
            )
            counts.append(int((living <= kept).sum()))
        return counts

    def groups(self) -> list[int]:
        return [1 + max(int(groups.max()) for groups in members.values()) for members in self.sites().values()]


def sites(model: nn.Module, structure: Structure) -> dict[str, dict[str, Tensor]]:
    """The group that each weight of a layer belongs to (out, in), by site and layer."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, layer in encoder(model).items():
        rows, cols = (torch.arange(n) for n in layer.weight.shape)
        rows = rows[:, None]
        block, part = name.split(".layer.")[1].split(".", 1)
        if structure.kind == "head" and part.startswith("attention"):
            site, groups = f"{block}.attention", (cols if "output" in part else rows) // (HIDDEN // HEADS)
        elif structure.kind == "neuron" and not part.startswith("attention"):
            site, groups = f"{block}.mlp", (cols if part.startswith("output") else rows) // structure.rows
        elif structure.kind in ("head", "neuron"):
            continue
        else:
            whole = {"row": (1, cols.numel()), "column": (rows.numel(), 1)}
            high, wide = whole.get(structure.kind, (structure.rows, structure.cols))
            site, groups = name, rows // high * (cols.numel() // wide) + cols // wide
        found.setdefault(site, {})[name] = groups.expand(layer.weight.shape)
    return found


def encoder(model: nn.Module) -> dict[str, nn.Linear]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and ".layer." in n}


def masked(model: nn.Module) -> dict[str, nn.Linear]:
    return {n: layer for n, layer in encoder(model).items() if parametrize.is_parametrized(layer)}


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: layer.parametrizations.weight[0].mask.clone() for name, layer in masked(model).items()}


def zero_some_groups(model: nn.Module, structure: Structure) -> None:
    """Zeroes a share ``FROZEN`` of the groups of each site; of N:M the first M - N weights of a group."""
    generator = torch.Generator().manual_seed(3)
    layers = encoder(model)
    for members in sites(model, structure).values():
        count = 1 + max(int(groups.max()) for groups in members.values())
        chosen = torch.randperm(count, generator=generator)[: round(FROZEN * count)]
        for name, groups in members.items():
            zero = torch.isin(groups, chosen)
            if structure.kept:
                zero &= torch.arange(groups.shape[1]) % structure.cols >= structure.kept
            layers[name].weight.data[zero] = 0.0


def batch(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 50, (2, 6), generator=generator)
    padding = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    return {"input_ids": ids, "attention_mask": padding, "labels": torch.tensor([0, 1])}


def prepare(model: nn.Module, rule: Rule, done: int = 0) -> tuple[Pruner, torch.optim.Optimizer]:
    pruner = Pruner(model, [rule])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    pruner.start(total_steps=STEPS, steps_per_epoch=STEPS, done=done)
    return pruner, optimizer


def train(model: nn.Module, pruner: Pruner, optimizer: torch.optim.Optimizer, step: int) -> None:
    torch.manual_seed(step)
    model.train()(**batch(step)).loss.backward()
    finish_step(pruner, optimizer, step)


@pytest.fixture(scope="module")
def base(bert):
    return bert(hidden_size=HIDDEN, intermediate_size=INNER, num_attention_heads=HEADS)


@pytest.fixture(scope="module", params=COMBINATIONS, ids="-".join)
def run(request, base, tmp_path_factory) -> Run:
    criterion, structure, scope, shape = request.param
    structure = Structure.parse(structure)
    schedule = None
    if criterion != Frozen.name:
        jumps = {"jumps": 2} if shape == "stepwise" else {}
        ends = {"begin": 1, "end": 5, "every": 2, **jumps}
        schedule = Schedule(shape, initial=0.1 * structure.max_sparsity, to=0.7 * structure.max_sparsity, **ends)
    rule = Rule(criterion=CRITERIA[criterion](), structure=structure, scope=scope, schedule=schedule)
    model = copy.deepcopy(base)
    if criterion == Frozen.name:
        zero_some_groups(model, rule.structure)
    original = copy.deepcopy(model)
    folder = tmp_path_factory.mktemp("checkpoint")

    pruner, optimizer = prepare(model, rule)
    pruner.update(0)
    masks, zeros_as_masked = [], []
    with torch.random.fork_rng(devices=[]):
        for step in range(STEPS + 1):
            if step:
                train(model, pruner, optimizer, step)
            masks.append(masks_of(model))
            zeros_as_masked.append(
                all(torch.equal(layer.weight != 0, masks[-1][name]) for name, layer in masked(model).items())
            )
            if step == CHECKPOINT:
                model.save_pretrained(folder)
                steps_taken = copy.deepcopy(optimizer.state_dict())
                with torch.no_grad():
                    logits = model.eval()(**batch(9)).logits
        resumed = copy.deepcopy(base)
        again, optimizer = prepare(resumed, rule, CHECKPOINT)
        resumed.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
        optimizer.load_state_dict(steps_taken)
        for step in range(CHECKPOINT + 1, STEPS + 1):
            train(resumed, again, optimizer, step)
    end = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    states = pruner.fold()
    asked = shares(shape, structure.max_sparsity) if schedule else None
    return Run(
        rule, asked, original, masks, zeros_as_masked, folder, logits, end, dict(resumed.state_dict()), states, model
    )


def test_every_pair_of_values_occurs():
    values = [TRAINING, STRUCTURES, SCOPES, [*SHAPES, "none"]]
    for a, b in combinations(range(4), 2):
        pairs = {(c[a], c[b]) for c in COMBINATIONS}
        expected = set(product(values[a], values[b]))
        if b == 3:  # a frozen rule has no schedule, and is the only one without
            expected = {p for p in expected if p[1] != "none" or a}
            expected = {p for p in expected if a or p[0] != Frozen.name} | ({(Frozen.name, "none")} if not a else set())
        assert pairs == expected


def test_counts_are_exact_at_every_step(run):
    groups = run.groups()
    for step in range(STEPS + 1):
        pruned = run.pruned(step)
        if run.shares is None:
            assert pruned == [round(FROZEN * n) for n in groups]
            continue
        share = run.shares[step]
        wanted = [round(share * n) for n in groups] if run.rule.scope == "local" else [round(share * sum(groups))]
        counts = pruned if run.rule.scope == "local" else [sum(pruned)]
        # Where the criterion's own threshold decides, groups are counted only when the schedule ends.
        own = build(run.rule.criterion).revives and share < run.shares[-1]
        sizes = groups if run.rule.scope == "local" else [sum(groups)]
        for count, exact, size in zip(counts, wanted, sizes, strict=True):
            assert abs(count - exact) <= (max(1, 0.01 * size) if own else 0)


def test_groups_go_as_a_whole(run):
    structure = run.rule.structure
    for masks in run.masks:
        for members in run.sites().values():
            for name, groups in members.items():
                own = groups.unique()
                size = torch.bincount(groups.flatten())[own]
                living = torch.bincount(groups.flatten(), weights=masks[name].double().flatten())[own]
                assert bool(((living == size) | (living == structure.kept)).all())


def test_only_members_of_sites_are_masked(run):
    names = {name for members in run.sites().values() for name in members}
    assert all(masks.keys() == names for masks in run.masks)


def test_masks_nest_step_by_step(run):
    if build(run.rule.criterion).revives:
        pytest.skip("weights may return")  # noqa: TID251
    for before, after in zip(run.masks, run.masks[1:]):
        assert not any(bool((after[name] & ~before[name]).any()) for name in before)


def test_the_forward_pass_sees_zeros_exactly_where_masks_are_at_every_step(run):
    assert run.zeros_as_masked == [True] * (STEPS + 1)


def test_folded_zeros_are_exact(run):
    layers = encoder(run.folded)
    for name, mask in run.masks[-1].items():
        assert torch.equal(layers[name].weight == 0, ~mask)
        assert not bool(torch.signbit(layers[name].weight[~mask]).any())
    pruned, groups = sum(run.pruned(STEPS)), sum(run.groups())
    target = run.rule.schedule.to if run.rule.schedule else pruned / groups
    assert [(s.pruned, s.groups, s.target) for s in run.states] == [(pruned, groups, target)]


def test_the_folded_model_is_plain(run):
    layers = encoder(run.folded)
    assert sorted(run.folded.state_dict()) == sorted(run.original.state_dict())
    assert all(type(layer) is nn.Linear and isinstance(layer.weight, nn.Parameter) for layer in layers.values())
    assert not any(parametrize.is_parametrized(module) for module in run.folded.modules())
    hooks = [m._state_dict_hooks or m._load_state_dict_pre_hooks or m._forward_pre_hooks for m in layers.values()]
    assert not any(hooks) and not run.folded._forward_pre_hooks
    assert not list(run.folded.named_buffers())[len(list(run.original.named_buffers())) :]


def test_a_checkpoint_in_the_middle_loads_plainly_as_the_masked_dense_model(run):
    plain = type(run.original).from_pretrained(run.checkpoint).eval()
    assert sorted(plain.state_dict()) == sorted(run.original.state_dict())
    with torch.no_grad():
        assert torch.equal(plain(**batch(9)).logits, run.logits)
    layers = encoder(plain)
    assert all(torch.equal(layers[name].weight == 0, ~mask) for name, mask in run.masks[CHECKPOINT].items())
    assert not [name for name in load_file(run.checkpoint / "model.safetensors") if "parametrizations" in name]


def test_a_checkpoint_holds_what_the_criterion_gathered(run):
    saved = load_file(run.checkpoint / "model.safetensors")
    gathered = {name: t for name, t in saved.items() if f".weight_{run.rule.criterion.name}_" in name}
    assert bool(gathered) is bool(build(run.rule.criterion).watches)
    layers = {name.split(".weight_")[0] for name, tensor in gathered.items() if bool(tensor.any())}
    assert not gathered or layers in (set(run.masks[0]), {next(iter(members)) for members in run.sites().values()})


def test_a_resumed_training_ends_bitwise_where_the_whole_one_ends(run):
    assert run.resumed.keys() == run.end.keys()
    assert [name for name, tensor in run.end.items() if not torch.equal(tensor, run.resumed[name])] == []
