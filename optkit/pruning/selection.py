"""From scores and a target to the groups that stay: exact counts, within one site or across many. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from optkit.errors import PruningError


def target_count(sparsity: float, groups: int) -> int:
    """How many of ``groups`` are pruned at ``sparsity``: the nearest whole number, halves to the even one."""
    return round(sparsity * groups)


def lowest(scores: Tensor, count: int) -> Tensor:
    """Marks exactly ``count`` entries of ``scores`` (n,), the lowest; of equal ones those with the lowest index.

    Returns:
        bool tensor (n,), True where the entry is among them.
    """
    if count <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if count >= scores.numel():
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = torch.kthvalue(scores, count).values
    chosen = scores < threshold
    ties = torch.nonzero(scores == threshold).flatten()
    chosen[ties[: count - int(chosen.sum())]] = True
    return chosen


def select_each(scores: Sequence[Tensor], living: Sequence[Tensor], sparsities: Sequence[float]) -> list[Tensor]:
    """Chooses which groups stay, each tensor on its own at its own sparsity. As ``select_together`` otherwise."""
    return [select_together([s], [a], t)[0] for s, a, t in zip(scores, living, sparsities, strict=True)]


def select_together(
    scores: Sequence[Tensor],
    living: Sequence[Tensor],
    sparsity: float,
    *,
    floor: float = 0.0,
    ceiling: float = 1.0,
) -> list[Tensor]:
    """Chooses which groups stay, ranking those of all tensors together.

    Groups that are dead already count as pruned and stay so; masks therefore nest as ``sparsity`` grows. A group may
    return only when the caller passes it as living.

    Args:
        scores: one float tensor per site, any shape: importance of each group; the lowest go first.
        living: bool tensors of the same shapes; False for groups that are already pruned.
        sparsity: share of the groups to prune, in [0, 1].
        floor, ceiling: lowest and highest share to prune of each tensor, with ``sparsity`` between them. What is dead
            already stays dead beyond the ceiling.

    Returns:
        bool tensors of the same shapes, True where the group stays.

    Raises:
        PruningError: if a living group's score is NaN.
    """
    flat = torch.cat([s.reshape(-1).float() for s in scores])
    alive = torch.cat([a.reshape(-1) for a in living])
    if torch.isnan(flat[alive]).any():
        raise PruningError("scores hold NaN: training has diverged; lower train.learning_rate or clip gradients")
    # Dead groups rank below every living one. A living -inf would tie with them, so it is lifted above, and a little
    # more, to leave room for those that a floor sends first.
    flat = torch.where(alive, flat.clamp(min=torch.finfo(torch.float32).min / 2), -torch.inf)
    sizes = [s.numel() for s in scores]
    count = max(target_count(sparsity, flat.numel()), int((~alive).sum()))
    if floor > 0.0 or ceiling < 1.0:
        flat = _bound(flat.split(sizes), floor, ceiling)
    keep = ~lowest(flat, count)
    return [k.view_as(s) for k, s in zip(keep.split(sizes), scores, strict=True)]


def _bound(scores: Sequence[Tensor], floor: float, ceiling: float) -> Tensor:
    """Scores (n,) that send the lowest of each tensor first, up to ``floor``, and hold back those past ``ceiling``.

    Shares become whole numbers that leave room for every total between them.
    """
    bounded = []
    for values in scores:
        first = lowest(values, math.floor(floor * values.numel()))
        allowed = lowest(values, math.ceil(ceiling * values.numel()))
        dead = values == -torch.inf
        values = values.masked_fill(~allowed & ~dead, torch.inf)
        bounded.append(values.masked_fill(first & ~dead, torch.finfo(torch.float32).min))
    return torch.cat(bounded)


def normalize(scores: Sequence[Tensor], living: Sequence[Tensor]) -> list[Tensor]:
    """Scores of each tensor divided by the mean absolute score of its living groups."""
    divided = []
    for values, alive in zip(scores, living, strict=True):
        mean = values[alive].abs().mean()
        divided.append(torch.where(mean > 0, values / mean, values))
    return divided
