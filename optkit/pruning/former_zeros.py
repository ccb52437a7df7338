"""Zeros that a model brings with it: weights that were pruned before stay pruned, unless a rule lets weights return.

A dense layer holds hardly any exact zero, and a few by chance are no pruning. A layer that is zero throughout was
pruned where others of its rule are sparse, too; among dense ones it was initialized so, and is to be trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from optkit.counting.encoder import encoder_of
from optkit.counting.zeros import NATURAL_FLOAT
from optkit.pruning.binding import BoundRule
from optkit.pruning.config import Rule
from optkit.pruning.masking import has_mask, raw_of
from optkit.pruning.selection import target_count
from optkit.pruning.targets import Site, linear_layers

#: As few zeros as this in a layer, a block or so, are chance, whatever their share.
_CHANCE = 16
#: A target is taken for reached where no more than this share of the weights is zero beyond it: another structure, or
#: another program, rounded it otherwise.
_ROUNDING = 0.005


@dataclass(frozen=True)
class FormerZeros:
    """Where the layers of a rule are zero before it begins.

    Attributes:
        zeros: bool (out, in), True where a weight is zero and stays so, by layer; sparse layers only.
        blank: layers that are zero throughout and taken for initialized so.
        share: of all weights of the rule, those that are zero and stay.
    """

    zeros: Mapping[str, Tensor]
    blank: tuple[str, ...]
    share: float


@torch.no_grad()
def former_zeros(layers: Mapping[str, nn.Linear]) -> FormerZeros:
    """The zeros of ``layers`` that an earlier pruning left; weights may be masked."""
    zeros = {name: (raw_of(layer) if has_mask(layer) else layer.weight).detach() == 0 for name, layer in layers.items()}
    counts = {name: int(where.sum()) for name, where in zeros.items()}
    whole = {name for name, where in zeros.items() if counts[name] == where.numel()}
    sparse = {
        name
        for name, where in zeros.items()
        if name not in whole and counts[name] > max(NATURAL_FLOAT * (where.numel() - counts[name]), _CHANCE)
    }
    kept = sparse | whole if sparse else set()
    share = sum(counts[name] for name in kept) / sum(where.numel() for where in zeros.values())
    return FormerZeros(
        {name: where for name, where in zeros.items() if name in kept}, tuple(sorted(whole - kept)), share
    )


def notes(rule: Rule, found: FormerZeros) -> list[str]:
    """What is to be said of the zeros that ``rule`` meets, a line each; nothing of a dense model."""
    lines = []
    if found.zeros:
        fate = "may return (regrow: true)" if rule.regrow else "stay"
        lines.append(f"{100 * found.share:.1f} % of {rule.name} are zero already and {fate}")
    if found.blank and rule.schedule is not None:
        more = f" and {len(found.blank) - 1} more layers are" if len(found.blank) > 1 else " is"
        lines.append(f"{found.blank[0]}{more} zero throughout, taken for initialized so and not for pruned")
    return lines


def loose_zeros(model: nn.Module, rules: Iterable[BoundRule]) -> list[str]:
    """What is to be said of zeros in layers of the encoder that none of ``rules`` matches, a line at most: training
    gives them values again.
    """
    layers = linear_layers(model)
    encoder, matched = encoder_of(layers), {id(layer) for bound in rules for layer in bound.layers.values()}
    beside = {name: layer for name, layer in layers.items() if name in encoder and id(layer) not in matched}
    others = {n: layer for n, layer in beside.items() if layer.weight.requires_grad and not layer.weight.is_meta}
    found = former_zeros(others) if others else None
    if not found or not found.zeros:
        return []
    first, more = min(found.zeros), f" and {len(found.zeros) - 1} more layers" if len(found.zeros) > 1 else ""
    return [
        f"{first}{more} have zeros, and no rule matches them, so training gives them values again: keep them by a "
        "rule with criterion: frozen"
    ]


def problem(bound: BoundRule, found: FormerZeros, rules: Iterable[BoundRule]) -> str | None:
    """Why a rule cannot end at its target: more groups than that are pruned already, by more than rounding. None where
    it can.

    Shares that an allocation chose may be below: a layer then keeps what it has. So does one that another of ``rules``
    prunes too, as where that rule takes more during the training.
    """
    rule = bound.rule
    if rule.schedule is None or rule.regrow or rule.shares or not found.zeros:
        return None
    others = [other for other in rules if other is not bound and other.rule.schedule is not None]
    shared = {name for other in others for name in other.layers}
    dead = [groups_pruned(site, found) for site in bound.sites]
    counts, limit = [site.grid.count for site in bound.sites], rule.structure.max_sparsity
    if rule.scope == "global":
        there, total, wanted = sum(dead), sum(counts), bound.target_groups(rule.schedule.to)
        if shared & set(bound.layers):
            return None
        if (there - wanted) / total * limit > _ROUNDING:
            return _below(f"rule '{rule.name}': ", there / total * limit, rule.schedule.to)
        least = sum(max(own, math.floor(rule.floor / limit * count)) for own, count in zip(dead, counts, strict=True))
        if (least - wanted) / total * limit > _ROUNDING:
            return (
                f"rule '{rule.name}': the zeros that are there and a floor of {100 * rule.floor:.1f} % are "
                f"{100 * least / total * limit:.1f} % of its weights, and `to` is {100 * rule.schedule.to:.1f} %: "
                "lower the floor, or raise `to`"
            )
        return None
    for site, own, count, share in zip(bound.sites, dead, counts, bound.shares(rule.schedule.to), strict=True):
        if not shared & set(site.layers) and (own - target_count(share, count)) / count * limit > _ROUNDING:
            return _below(f"rule '{rule.name}': {site.name}: ", own / count * limit, share * limit)
    return None


def _below(where: str, there: float, to: float) -> str:
    return (
        f"{where}{100 * there:.1f} % of its weights are zero already, and `to` is {100 * to:.1f} %: raise `to`, or let "
        "weights return in training with regrow: true"
    )


def groups_pruned(site: Site, found: FormerZeros) -> int:
    """How many groups of a site are pruned already."""
    living = [
        ~found.zeros[name] if name in found.zeros else torch.ones_like(layer.weight, dtype=torch.bool)
        for name, layer in site.layers.items()
    ]
    return int((~site.grid.alive(living)).sum())
