"""What a layer loses by itself: each is pruned alone, at each of a few sparsities, and its outputs compared.

ZipLM (Kurtic et al. 2023, https://arxiv.org/abs/2302.04089) takes the squared error of a layer's outputs over their
squares. Two things differ here. Each output counts by its own variance, since in encoders a few outputs are many times
as large as all others, and nearly constant: sums over outputs say how much of these is left. And it is the share e that
is lost over the share that is left, e / (1 - e): a layer norm scales up what is left, with the noise in it. The sum of
plain shares grows ever more slowly towards 1, and is least where some layers are given up altogether.

It needs no labels, no trained head, and one pass over the examples a block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn

from optkit.errors import PruningError
from optkit.pruning.allocation.knapsack import Curve
from optkit.pruning.config import ONE_SHOT, Magnitude, Rule, Schedule
from optkit.pruning.criteria import build
from optkit.pruning.former_zeros import former_zeros, groups_pruned
from optkit.pruning.masking import lay_out
from optkit.pruning.oneshot.replay import without_padding
from optkit.pruning.pruner import Pruner
from optkit.pruning.schedules import resolve
from optkit.pruning.selection import lowest, target_count
from optkit.pruning.structures import GroupedAcrossLayers
from optkit.pruning.targets import Site, resolve_sites

Batch = Mapping[str, Tensor]
#: A share of the outputs that counts as all of them, so that losses stay finite.
MOST = 0.999


def without_training(rule: Rule) -> Rule:
    """``rule`` with a criterion that scores a model at once: its own, or magnitude if that has to see it at work."""
    sees = bool(build(rule.criterion).watches) or isinstance(rule.criterion, ONE_SHOT)
    return replace(rule, criterion=Magnitude()) if sees else rule


def prune_now(model: nn.Module, rules: Sequence[Rule]) -> None:
    """Prunes ``model`` in place as far as ``rules`` go in the end, without training. One of several processes may call
    this alone: it compares nothing with the others.
    """
    if not rules:
        return
    pruner = Pruner(model, [without_training(rule) for rule in rules])
    for bound in pruner.bound:
        if (schedule := bound.rule.schedule) is not None:
            bound.steps = resolve(Schedule("constant", to=schedule.to, begin=0), 1, 1.0)
            bound.prune(schedule.to)
    pruner.fold()


def keeps(rule: Rule, site: Site, index: int, counts: Sequence[int]) -> Iterator[list[Tensor]]:
    """The masks (out, in) of a site's weights with each of ``counts`` groups pruned, before any training.

    Args:
        index: the place of the site's first layer among those that the rule matched.
    """
    criterion, scores = build(without_training(rule).criterion), []
    weights = [layer.weight.detach().contiguous() for layer in site.layers.values()]
    for number, (weight, tile) in enumerate(zip(weights, site.grid.tiles, strict=True)):
        scores.append(criterion.score_jointly(weight, criterion.state(weight), index + number, tile))
    living = [torch.ones_like(weight, dtype=torch.bool) for weight in weights]
    pooled = site.grid.pool(scores, living)
    for count in counts:
        yield site.grid.masks(~lowest(pooled, count), scores, living)


def counts_at(site: Site, rule: Rule, sparsities: Sequence[float]) -> list[int]:
    """How many groups of a site are pruned at each of ``sparsities``: never fewer than are zero already and stay."""
    zero = 0 if rule.regrow else groups_pruned(site, former_zeros(site.layers))
    return [max(target_count(sparsity / rule.structure.max_sparsity, site.grid.count), zero) for sparsity in sparsities]


@torch.no_grad()
def measure(
    model: nn.Module,
    rule: Rule,
    batches: Sequence[Batch],
    sparsities: Sequence[float],
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[Curve]:
    """The curve of every layer that ``rule`` matches, in the model's order; the model is left as it is.

    Memory is in^2 floats for each matched layer of one block of the encoder at a time.

    Args:
        model: in evaluation mode, on the device of the batches.
        batches: inputs of the model.
        sparsities: ascending, above 0.
        tell: hears how many layers are done, of how many.

    Raises:
        PruningError: as ``resolve_sites``; if no token reaches a layer.
    """
    sites, problems = resolve_sites(model, rule)
    if problems:
        raise PruningError("; ".join(problems))
    lay_out(model)
    curves, index = [], 0
    for _, together in groupby(sites, _block_of):
        together = list(together)
        moments = _moments_of_inputs(model, {n: x for site in together for n, x in _outer(site).items()}, batches)
        for site in together:
            unseen = next((n for n in _outer(site) if n not in moments or not moments[n].count), None)
            if unseen is not None:
                raise PruningError(f"rule '{rule.name}': no token of the examples reaches {unseen}: exclude it")
            counts = list(dict.fromkeys(counts_at(site, rule, [0.0, *sparsities])))
            losses = [_loss(site, masks, moments) for masks in keeps(rule, site, index, counts)]
            curves.append(Curve(site.name, site.grid.count, tuple(counts), tuple(losses)))
            index += len(site.layers)
            tell(len(curves), len(sites))
    return curves


def _outer(site: Site) -> dict[str, nn.Linear]:
    """The layers whose outputs leave a site: of a head its output projection, of a neuron the way down."""
    if not isinstance(site.grid, GroupedAcrossLayers):
        return site.layers
    last = {part.weight for part in site.grid.slices if part.axis == 1}
    return {name: layer for number, (name, layer) in enumerate(site.layers.items()) if number in last}


def _block_of(site: Site) -> str:
    """The innermost numbered module that a site is in, empty if it is in none."""
    found = re.match(r".*\.\d+\.", site.name)
    return found[0] if found else ""


@dataclass
class _Moments:
    """Sums over tokens of a layer's inputs: how many tokens, the inputs (in,), and their products (in, in)."""

    count: int = 0
    inputs: Tensor | float = 0.0
    products: Tensor | float = 0.0

    def add(self, tokens: Tensor) -> None:
        self.count += len(tokens)
        self.inputs = self.inputs + tokens.sum(dim=0)
        self.products = self.products + tokens.T @ tokens

    def variances(self, weight: Tensor) -> Tensor:
        """Of each output (out,) of ``weight`` (out, in) over the tokens; rounding may take it below 0."""
        means = (weight @ self.inputs).double() / self.count
        return ((weight @ self.products) * weight).sum(dim=1, dtype=torch.float64) / self.count - means.square()


def _moments_of_inputs(
    model: nn.Module, layers: Mapping[str, nn.Linear], batches: Sequence[Batch]
) -> dict[str, _Moments]:
    """Of each layer's inputs, without padding where an attention mask tells it."""
    moments: dict[str, _Moments] = {}
    now: Batch = {}

    def see(name: str, layer: nn.Linear, args: tuple) -> None:
        moments.setdefault(name, _Moments()).add(without_padding(args[0], now).float())

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_pre_hook(partial(see, name)).remove)
        for now in batches:
            model(**now)
    return moments


def _loss(site: Site, masks: Sequence[Tensor], moments: Mapping[str, _Moments]) -> float:
    """What ``masks`` take from a site's outputs over what they leave."""
    shares = []
    for (name, layer), mask in zip(site.layers.items(), masks, strict=True):
        if name in moments:
            weight = layer.weight.detach().float()
            lost = moments[name].variances(weight.masked_fill(mask, 0.0))
            whole = moments[name].variances(weight).clamp(min=torch.finfo(torch.float32).tiny)
            shares.append((lost / whole).clamp(0.0, 1.0))
    lost = min(float(torch.cat(shares).mean()), MOST)
    return lost / (1.0 - lost)
