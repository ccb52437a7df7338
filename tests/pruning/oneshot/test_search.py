"""The choice of heads and neurons: gradients of masks, the rearrangement, and what is refitted."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from architectures import ARCHITECTURES, inputs_of, small_model

from optkit.pruning import FisherSearch, Rule, Schedule, compact, one_shot
from optkit.pruning.layouts import layouts
from optkit.pruning.oneshot.search import mask_gradients, rearrange
from optkit.pruning.targets import resolve_sites


def rule(structure: str, to: float, **more) -> Rule:
    return Rule(criterion=FisherSearch(), structure=structure, schedule=Schedule(to=to), **more)


@pytest.mark.parametrize("structure", ["head", "neuron", "neuron:4"])
def test_gradients_of_masks_are_those_of_factors_on_each_group(bert, batches, structure):
    model, batch = bert().eval(), batches(1)[0]
    sites = resolve_sites(model, rule(structure, 0.5))[0]
    found = mask_gradients(model, [batch], sites)
    for site, gradients in zip(sites, found, strict=True):
        assert gradients.shape == (8, site.grid.count)
        reader = list(site.layers.values())[-1]  # the output projection comes last
        for row in range(8):
            factors = torch.ones(site.grid.count, requires_grad=True)
            wide = lambda module, args: (args[0] * factors.repeat_interleave(args[0].shape[-1] // len(factors)),)  # noqa: B023, E731
            hook = reader.register_forward_pre_hook(wide)
            length = int(batch["attention_mask"][row].sum())
            logits = model(input_ids=batch["input_ids"][row : row + 1, :length]).logits
            hook.remove()
            (wanted,) = torch.autograd.grad(logits[0, 1] - logits[0, 0], factors)
            assert torch.allclose(gradients[row].abs(), wanted.abs(), rtol=1e-3, atol=wanted.abs().max() * 1e-4)


def cost(fisher: torch.Tensor, keep: torch.Tensor) -> float:
    gone = (~keep).float()
    return float(gone @ fisher @ gone)


def test_the_rearrangement_cannot_be_bettered_by_a_swap_and_spares_no_dead_group():
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        factors = torch.randn(3, 10, generator=generator)
        fisher, living = factors.t() @ factors, torch.ones(10, dtype=torch.bool)
        living[seed] = False
        lowest = fisher.diagonal().masked_fill(~living, -1.0).argsort()
        keep = torch.ones(10, dtype=torch.bool)
        keep[lowest[:5]] = False
        found = rearrange(fisher, keep, living)
        assert int(found.sum()) == 5 and not found[seed]
        assert cost(fisher, found) <= cost(fisher, keep)
        for kept, gone in ((k, g) for k in range(10) for g in range(10) if found[k] and not found[g] and living[g]):
            other = found.clone()
            other[kept], other[gone] = False, True
            assert cost(fisher, found) <= cost(fisher, other) + 1e-4


def test_twins_do_not_both_go():
    # Two groups that do the same matter little alone, and much together.
    factors = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.2, 0.0], [0.0, 0.0, 0.0, 1.3]])
    keep = rearrange(factors.t() @ factors, torch.tensor([False, False, True, True]), torch.ones(4, dtype=torch.bool))
    best = min(float(factors[:, list(gone)].sum(1).square().sum()) for gone in combinations(range(4), 2))
    assert float(factors[:, ~keep].sum(1).square().sum()) == best and keep[:2].sum() == 1


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_loses_heads_and_neurons_that_compaction_removes(name):
    model = small_model(name)
    batches = [inputs_of(model)]
    states = one_shot(model, [rule("head", 0.25), rule("neuron", 0.5)], batches)
    heads, neurons = (sum(g.count for g in kind) for kind in zip(*((x.heads, x.neurons) for x in layouts(model))))
    assert [(s.groups, s.pruned) for s in states] == [(heads, heads // 4), (neurons, neurons // 2)]
    with torch.no_grad():
        before = model(**batches[0]).logits
        left = compact(model).counts()
        assert left["heads"] == [heads - heads // 4, heads]
        assert left["neurons"] == [neurons - neurons // 2, neurons]
        assert torch.allclose(model(**batches[0]).logits, before, rtol=0, atol=1e-5)


def test_what_stays_makes_up_for_what_went(bert, batches):
    data = batches(6)
    logits = lambda model: torch.cat([model(**batch).logits for batch in data]).detach()  # noqa: E731
    wanted, lost = logits(bert().eval()), {}
    for damping in (0.01, 1e6):  # so much damping leaves the weights that stay as they are
        model = bert().eval()
        one_shot(model, Rule(criterion=FisherSearch(damping), structure="neuron", schedule=Schedule(to=0.5)), data)
        lost[damping] = float((logits(model) - wanted).square().sum())
    assert lost[0.01] < 0.5 * lost[1e6]
