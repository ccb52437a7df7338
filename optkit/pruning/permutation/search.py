"""Finds an order of features under which the best blocks of given matrices hold more. Pure functions on tensors.

The objective is the sum of scores that stays: of blocks those with the highest sums, as many as the sparsity leaves;
of N:M the N highest of each M. Blocks that stay count by what their sum is above a threshold t, the sum of the last
one that does: for a given t that is a sum over blocks of max(sum - t, 0), plus a constant.

Take one feature out of each of G groups. What group g is worth with feature i in the free place is, up to terms of i
alone and of g alone, the distance |x_i - tau_g|_1 / 2: x_i being the feature's scores, and tau_g what they have to
exceed, t less what the group holds already; for N:M the N-th highest of the others. So the features go back by an
assignment that makes these distances large: exchanges of pairs until none is better. All places of all groups take
turns, in a random order, until nothing is won any more.

Channel permutations for N:M are from Pool & Yu 2021, "Channel Permutations for N:M Sparsity" (NeurIPS); taking a
feature out of each group and assigning anew is in the spirit of Yu et al. 2024, "Toward Efficient Permutation for
Hierarchical N:M Sparsity on GPUs". Thresholds for blocks, and orders that several matrices share, are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import torch
from torch import Tensor

#: Groups among which features are assigned at once: more would cost more than they win.
_TOGETHER = 128
_SWEEPS, _PATIENCE, _LEAST = 20, 2, 2e-4
_EXCHANGES = 50


@dataclass
class Term:
    """What one order means for several matrices with blocks of the same size.

    Attributes:
        values: scores (parts, features of a part, columns), the columns those of all matrices side by side. For
            blocks they are summed over the extent of a block across the features already.
        size: how many adjacent features a block holds.
        kept: N of N:M; 0 for blocks.
        thresholds: for blocks, what a sum has to exceed to stay, (columns,).
    """

    values: Tensor
    size: int
    kept: int = 0
    thresholds: Tensor | None = None

    def worth(self) -> Tensor:
        """The part of the objective that the order decides, a scalar in float64."""
        groups = self.values.unflatten(1, (-1, self.size))
        if self.kept:
            return groups.topk(self.kept, dim=2).values.sum(dtype=torch.float64)
        return (groups.sum(dim=2) - self.thresholds).clamp_(min=0.0).sum(dtype=torch.float64)

    def needed(self, places: Tensor) -> Tensor:
        """What the scores of a feature at each of ``places`` (parts, n) have to exceed: (parts, n, columns)."""
        first = places - places % self.size
        others = first[:, :, None] + torch.arange(self.size, device=places.device)
        others = others[others != places[:, :, None]].view(*places.shape, self.size - 1)
        part = torch.arange(len(places), device=places.device)[:, None, None]
        found = self.values[part, others]
        if (self.kept, self.size) == (2, 4):  # the one in the middle, without sorting
            first, second, third = found.unbind(dim=2)
            return torch.maximum(first.minimum(second), first.maximum(second).minimum(third))
        if self.kept:
            return found.topk(self.kept, dim=2).values[:, :, -1]
        return self.thresholds - found.sum(dim=2)


def improve(terms: Sequence[Term], generator: torch.Generator) -> Tensor:
    """An order (parts, features), int64, under which the terms are worth more, or the one that there is.

    Args:
        terms: of equal numbers of parts and features. Their values are put into the order that is returned.
        generator: on the CPU; decides which places take turns when.
    """
    parts, features = terms[0].values.shape[:2]
    order = torch.arange(features, device=terms[0].values.device).repeat(parts, 1)
    span = lcm(*(term.size for term in terms))
    if features // span < 2:
        return order
    best, best_worth = order, _worth(terms)
    _reorder(terms, by_total := _by_total(terms))
    order, worth = by_total, _worth(terms)
    if worth <= best_worth:
        _reorder(terms, torch.argsort(order, dim=1))
        order, worth = best, best_worth
    waited = 0
    for _ in range(_SWEEPS):
        moved = _shuffle(parts, features, [term.size for term in terms], generator).to(order.device)
        _reorder(terms, moved)
        order = order.gather(1, moved)
        for place in range(span):
            places = torch.arange(place, features, span, device=order.device)
            for chunk in places.split(_TOGETHER):
                order = _assign(terms, chunk, order)
        before, worth = worth, _worth(terms)
        waited = waited + 1 if worth - before <= _LEAST * abs(best_worth) else 0
        if waited >= _PATIENCE:
            break
    return order


def _worth(terms: Sequence[Term]) -> float:
    return float(sum(term.worth() for term in terms))


def _by_total(terms: Sequence[Term]) -> Tensor:
    """Features with high scores first, (parts, features)."""
    total = sum(term.values.sum(dim=2, dtype=torch.float64) for term in terms)
    return total.sort(dim=1, descending=True, stable=True).indices


def _reorder(terms: Sequence[Term], order: Tensor) -> None:
    for term in terms:
        term.values = term.values.gather(1, order[:, :, None].expand_as(term.values))


def _shuffle(parts: int, features: int, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
    """A random order (parts, features) that leaves all blocks together: groups move as a whole, and within groups."""
    order = torch.arange(features).repeat(parts, 1)
    chain = sorted({1, *sizes, lcm(*sizes)}, reverse=True)
    if any(large % small for large, small in zip(chain, chain[1:])):
        return order
    for outer, inner in zip([features, *chain], chain):
        if outer == inner:
            continue
        drawn = torch.rand(parts, features // outer, outer // inner, generator=generator).argsort(dim=2)
        grouped = order.view(parts, features // outer, outer // inner, inner)
        order = grouped.gather(2, drawn[..., None].expand_as(grouped)).reshape(parts, features)
    return order


def _assign(terms: Sequence[Term], places: Tensor, order: Tensor) -> Tensor:
    """Exchanges the features at ``places`` (n,), one in each group, where that is worth more; the new order."""
    places = places.expand(len(order), -1)
    worth: Tensor | None = None
    for term in terms:
        own = term.values.gather(1, places[:, :, None].expand(-1, -1, term.values.shape[2]))
        each = torch.cdist(own, term.needed(places), p=1.0)
        worth = each if worth is None else worth + each
    chosen = exchange(worth)
    moved = places.gather(1, chosen)
    for term in terms:
        index = moved[:, :, None].expand(-1, -1, term.values.shape[2])
        target = places[:, :, None].expand_as(index)
        term.values.scatter_(1, target, term.values.gather(1, index))
    return order.scatter(1, places, order.gather(1, moved))


def exchange(worth: Tensor) -> Tensor:
    """An assignment that no exchange of two improves.

    Args:
        worth: (parts, n, n), of feature i in place j.

    Returns:
        which feature goes to each place, (parts, n), int64.
    """
    parts, count = worth.shape[:2]
    places = torch.arange(count, device=worth.device).expand(parts, -1)
    chosen = places
    least = worth.abs().amax(dim=(1, 2), keepdim=True) * 1e-6
    for _ in range(_EXCHANGES * count):
        own = worth.diagonal(dim1=1, dim2=2)
        gain = worth + worth.transpose(1, 2) - own[:, :, None] - own[:, None, :]
        best, partner = gain.max(dim=2)
        mutual = (partner.gather(1, partner) == places) & (best > least[:, :, 0])
        if not bool(mutual.any()):
            break
        moved = torch.where(mutual, partner, places)
        worth = worth.gather(1, moved[:, :, None].expand_as(worth))
        chosen = chosen.gather(1, moved)
    return chosen
