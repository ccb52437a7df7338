"""Importance is a learned score of each group, under a penalty on all of them: soft movement pruning (Sanh et al. 2020,
https://arxiv.org/abs/2005.07683; one score for each block: Lagunas et al. 2021, https://arxiv.org/abs/2109.04838).

A group lives while sigmoid(S) reaches a threshold. Its score S is learned by the straight-through gradient
dL/dS = sum over the group of dL/dW' * W, where W' is the masked weight, and under the penalty lambda * sigmoid(S), on
the same scale for each group. So a group that died returns when the loss wants it back. Four things differ from the
paper, the first three so that one set of parameters suits models, layers, groups and lengths of training of any size.

- The paper learns scores with Adam, whose steps do not depend on the size of gradients. Here the sum of a layer's
  gradients is divided by the sum of their mean absolute values: the n-th step has the size 1 / n, and small gradients
  of the first steps do not count as much as later, larger ones, as they would if each step were divided by itself.
- Scores begin with the order of magnitude instead of all alike.
- Living groups get ``saliency`` times the sum of |dL/dW' * W| on top; optkit/pruning/criteria/movement.py says what
  goes wrong without it.
- Lambda is not fixed beforehand: a controller sets it.

The controller. Groups in ascending order of score, let b be the score half way between the last that should be dead and
the first that should live. Then b - logit(threshold) is how far scores have yet to fall there, and lambda is set to
what makes them fall that far, plus the sum of half of all such distances so far, until masks change again: a
proportional and integral controller, whose gain is right whatever the density of scores is. A negative lambda is a
reward that lets scores rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor

from optkit.pruning.config.criteria import SoftMovement
from optkit.pruning.criteria.base import GroupCriterion, State
from optkit.pruning.selection import target_count

#: Share of a distance that is added to the controller's sum. Below 1, so that no correction is overdone.
_INTEGRAL = 0.5
#: Where the sigmoid is flat no penalty moves a score; its slope counts as at least this much.
_LEAST_SLOPE = 0.01
#: How much the share of dead groups may differ from what the schedule asks for before groups are counted instead.
_TOLERANCE = 0.01


def _slope(score: Tensor) -> Tensor:
    """The derivative of the sigmoid."""
    share = torch.sigmoid(score)
    return share * (1.0 - share)


class SoftMovementCriterion(GroupCriterion):
    config: SoftMovement
    watches = frozenset({"gradients"})
    revives = True

    @property
    def _threshold(self) -> float:
        return log(self.config.threshold / (1.0 - self.config.threshold))

    def group_state(self, magnitudes: Tensor) -> State:
        zero = magnitudes.new_zeros(())
        return {
            "start": magnitudes / magnitudes.mean().clamp(min=torch.finfo(torch.float32).tiny),
            "head": zero + self.config.head_start,  # steps that the start counts for
            "moved": torch.zeros_like(magnitudes),  # sum of what gradients gave
            "size": zero.clone(),  # sum of its mean absolute value
            "steps": zero.clone(),  # steps in these sums
            "fallen": torch.zeros_like(magnitudes),  # what the penalty took
            "since": zero.clone(),  # steps since masks changed
            "penalty": zero.clone(),  # lambda
            "integral": zero.clone(),
        }

    def observe_groups(self, state: State, products: Tensor, sizes: Tensor, alive: Tensor) -> None:
        gained = torch.where(alive, self.config.saliency * sizes, 0.0) - products
        for name in ("head", "moved", "size", "steps"):
            state[name] *= self.config.momentum
        state["moved"] += gained
        state["size"] += gained.abs().mean()
        state["steps"] += 1
        state["since"] += 1
        state["fallen"] += state["penalty"] * _slope(self.group_score(state))

    def group_score(self, state: State) -> Tensor:
        least = torch.finfo(torch.float32).tiny
        moved = state["moved"] / state["size"].clamp(min=least) * state["steps"]
        steps = (state["head"] + state["steps"]).clamp(min=least)
        return self._threshold + (state["head"] * state["start"] + moved) / steps - state["fallen"]

    def choose(self, states: Sequence[State], share: float) -> list[Tensor] | None:
        scores = [self.group_score(state) for state in states]
        flat = torch.cat(scores)
        if flat.isnan().any():
            return None
        count = target_count(share, len(flat))
        boundary = (flat.kthvalue(max(count, 1)).values + flat.kthvalue(min(count + 1, len(flat))).values) / 2
        self._steer(states, boundary)
        keeps = [score >= self._threshold for score in scores]
        off = abs(sum(int((~keep).sum()) for keep in keeps) - count)
        return keeps if off <= max(1.0, _TOLERANCE * len(flat)) else None

    def _steer(self, states: Sequence[State], boundary: Tensor) -> None:
        """Sets lambda for the steps until the next change of the masks, taken to be as many as since the last one."""
        distance = boundary - self._threshold
        slope = _slope(boundary).clamp(min=_LEAST_SLOPE)
        for state in states:
            state["integral"] += _INTEGRAL * distance
            state["penalty"].copy_((distance + state["integral"]) / (state["since"].clamp(min=1.0) * slope))
            state["since"].zero_()

    def score(self, weight: Tensor, state: State, index: int) -> Tensor:
        return weight.abs()
