"""How much to prune each layer: the least loss in all for one target, chosen from what each layer loses by itself.

Each layer brings a few sparsities with the loss that it causes alone; the losses of layers add up, as in SPDY (Frantar
& Alistarh 2022, https://arxiv.org/abs/2201.13096) and ZipLM (Kurtic et al. 2023, https://arxiv.org/abs/2302.04089). The
target is a number of groups to prune or a time not to exceed; both are one knapsack, solved by dynamic programming.
Pure functions on numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from optkit.errors import PruningError
from optkit.pruning.config import Structure

#: Steps that a budget is divided into. What a layer uses is rounded up to one, so 100 layers waste 1/1000 at most.
STEPS = 100_000
#: Sparsities to measure, of the most that a structure reaches: about two thirds of the weights are left at each step.
GRID = (0.4, 0.6, 0.75, 0.85, 0.92, 0.96, 0.99)
#: How many choices there are between two that were measured.
PARTS = 4


@dataclass(frozen=True)
class Curve:
    """What pruning one layer alone does: at ``counts[i]`` of its ``groups`` the loss is ``losses[i]``.

    Attributes:
        name: of the layer, or of the first one that its groups span.
        groups: that it has.
        counts: groups pruned, ascending from 0, or from how many are pruned already.
        losses: in any unit that adds up, the same for all layers; where one falls the one before it counts, since
            whoever prunes less can do no worse.
    """

    name: str
    groups: int
    counts: tuple[int, ...]
    losses: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "losses", tuple(accumulate(self.losses, max)))

    def between(self, least: int, most: int) -> Curve:
        """The part from ``least`` to ``most`` groups, both among the counts, losses in between on straight lines."""
        inner = [count for count in self.counts if least < count < most]
        counts = tuple(dict.fromkeys((least, *inner, most)))
        return Curve(self.name, self.groups, counts, tuple(self.loss(count) for count in counts))

    def refine(self) -> Curve:
        """The same curve with up to ``PARTS`` - 1 counts more between two neighbours."""
        parts = [np.linspace(a, b, PARTS + 1).round() for a, b in pairwise(self.counts)]
        counts = tuple(dict.fromkeys(int(count) for count in [self.counts[0], *(c for part in parts for c in part)]))
        return Curve(self.name, self.groups, counts, tuple(self.loss(count) for count in counts))

    def loss(self, count: int) -> float:
        """The loss with ``count`` groups pruned; beyond the last count that of the last."""
        return float(np.interp(count, self.counts, self.losses))


def grid(structure: Structure, to: float | None = None, given: Sequence[float] = ()) -> tuple[float, ...]:
    """Sparsities to measure each layer at, ascending, without 0.

    Args:
        to: that the layers shall have on average; always among them.
        given: to take instead of ``GRID``. Those beyond what the structure reaches are left out.
    """
    # Heads and neurons of a layer may all go: the layer itself is then pruned.
    shares = [*GRID, *([1.0] if structure.spans_layers else [])]
    points = list(given) or [round(share * structure.max_sparsity, 6) for share in shares]
    return tuple(sorted({point for point in (*points, *([to] if to else [])) if 0.0 < point <= structure.max_sparsity}))


def by_sensitivity(curves: Sequence[Curve], count: int) -> list[int]:
    """How many groups of each layer to prune, exactly ``count`` of all, so that the summed loss is least.

    The choice is made among the counts of the curves. What it prunes beyond ``count`` is given back where that takes
    most off the loss.

    Raises:
        PruningError: if the curves do not reach so far down or up.
    """
    least, most = (sum(curve.counts[end] for curve in curves) for end in (0, -1))
    if not least <= count <= most:
        total = sum(curve.groups for curve in curves)
        raise PruningError(
            f"allocation: {count / total:.1%} of the groups shall be pruned, and the grid, floor and ceiling leave "
            f"{least / total:.1%} to {most / total:.1%}: widen them"
        )
    kept = [[curve.groups - c for c in curve.counts] for curve in curves]
    chosen = cheapest([curve.losses for curve in curves], kept, sum(curve.groups for curve in curves) - count)
    counts = [curve.counts[i] for curve, i in zip(curves, chosen, strict=True)]
    return _give_back(curves, counts, sum(counts) - count)


def by_cost(curves: Sequence[Curve], costs: Sequence[Sequence[float]], budget: float) -> list[int]:
    """How many groups of each layer to prune, so that costs add up to ``budget`` at most and the summed loss is least.

    Args:
        costs: of each layer at each count of its curve.

    Raises:
        PruningError: if the least of all costs are more than ``budget``.
    """
    if budget <= 0:
        raise PruningError("allocation: no choice of sparsities stays within the budget")
    # Whole numbers add up exactly; a billionth of the budget is nothing.
    unit = budget / 1e9
    usage = [[int(np.ceil(cost / unit - 1e-6)) for cost in each] for each in costs]
    chosen = cheapest([curve.losses for curve in curves], usage, round(1e9))
    return [curve.counts[i] for curve, i in zip(curves, chosen, strict=True)]


def cheapest(losses: Sequence[Sequence[float]], usage: Sequence[Sequence[int]], budget: int) -> list[int]:
    """One option for each layer: the least summed loss whose summed usage is at most ``budget``.

    Exact while the budget has no more than ``STEPS`` units. Of equal losses the option that comes first wins.

    Args:
        losses, usage: of each layer's options.

    Raises:
        PruningError: if even the least usages are more than the budget.
    """
    floors = [min(each) for each in usage]
    room = budget - sum(floors)
    if room < 0:
        raise PruningError("allocation: no choice of sparsities stays within the budget")
    unit = max(1, -(-room // STEPS))
    room //= unit
    best, choices = np.zeros(room + 1), []
    for own_losses, own_usage, floor in zip(losses, usage, floors, strict=True):
        new, choice = np.full(room + 1, np.inf), np.zeros(room + 1, dtype=np.int16)
        for option, (loss, used) in enumerate(zip(own_losses, own_usage, strict=True)):
            step = -(-(used - floor) // unit)
            if step > room:
                continue
            totals = best[: room + 1 - step] + loss
            better = totals < new[step:]
            new[step:][better], choice[step:][better] = totals[better], option
        best = new
        choices.append(choice)
    chosen, left = [], room
    for choice, own_usage, floor in zip(reversed(choices), reversed(usage), reversed(floors), strict=True):
        chosen.append(int(choice[left]))
        left -= -(-(own_usage[chosen[-1]] - floor) // unit)
    return chosen[::-1]


def _give_back(curves: Sequence[Curve], counts: list[int], excess: int) -> list[int]:
    """``counts`` with ``excess`` groups fewer pruned, taken where the loss falls fastest."""
    counts = list(counts)
    while excess:
        steepest = None
        for number, (curve, count) in enumerate(zip(curves, counts, strict=True)):
            below = max((c for c in curve.counts if c < count), default=None)
            if below is None:
                continue
            slope = (curve.loss(count) - curve.loss(below)) / (count - below)
            if steepest is None or slope > steepest[0]:
                steepest = (slope, number, count - below)
        _, number, room = steepest
        taken = min(room, excess)
        counts[number] -= taken
        excess -= taken
    return counts
