"""From scores and a target to masks: exact counts, within one weight or across many. Pure functions on tensors."""

from __future__ import annotations

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


def select(scores: Sequence[Tensor], living: Sequence[Tensor], sparsity: float, scope: str) -> list[Tensor]:
    """Chooses which groups stay.

    Groups that are dead already count as pruned and stay so; masks therefore nest as ``sparsity`` grows. A group may
    return only when the caller passes it as living.

    Args:
        scores: one float tensor per weight, any shape: importance of each group; the lowest go first.
        living: bool tensors of the same shapes; False for groups that are already pruned.
        sparsity: share of the groups to prune, in [0, 1].
        scope: ``global`` ranks the groups of all weights together, ``local`` those of each weight on its own.

    Returns:
        bool tensors of the same shapes, True where the group stays.

    Raises:
        PruningError: if a living group's score is NaN.
    """
    if scope == "local":
        return [_select_together([s], [a], sparsity)[0] for s, a in zip(scores, living, strict=True)]
    return _select_together(scores, living, sparsity)


def _select_together(scores: Sequence[Tensor], living: Sequence[Tensor], sparsity: float) -> list[Tensor]:
    flat = torch.cat([s.reshape(-1).float() for s in scores])
    alive = torch.cat([a.reshape(-1) for a in living])
    if torch.isnan(flat[alive]).any():
        raise PruningError("scores hold NaN: training has diverged; lower train.learning_rate or clip gradients")
    # Dead groups rank below every living one. A living -inf would tie with them, so it is lifted above.
    flat = torch.where(alive, flat.clamp(min=torch.finfo(torch.float32).min), -torch.inf)
    count = max(target_count(sparsity, flat.numel()), int((~alive).sum()))
    keep = ~lowest(flat, count)
    return [k.view_as(s) for k, s in zip(keep.split([s.numel() for s in scores]), scores, strict=True)]
