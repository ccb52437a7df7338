"""Importance is how far training moves a weight away from zero (Sanh et al. 2020, https://arxiv.org/abs/2005.07683).

The paper updates learned scores S by the straight-through gradient dL/dS = dL/dW' * W, where W' is the masked weight.
With plain gradient descent on S that is the running sum of -W * dL/dW', which is kept here as the criterion's own
state: no score goes through the optimizer, and no threshold either, since selection counts exactly.

The sum of the absolute values |W * dL/dW'| is added, ``saliency`` times. Near an optimum -W * dL/dW' is noise around
zero, and the larger the more a weight matters. The lowest sums are then those of weights that matter most, half of
them: pruned first, and without regrowth for good, they take the network with them. Together both say how much a weight
matters, more if it moves away from zero and less if it moves towards it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optkit.pruning.config.criteria import Movement
from optkit.pruning.criteria.base import Criterion, State


class MovementCriterion(Criterion):
    config: Movement
    watches = frozenset({"gradients"})

    def state(self, weight: Tensor) -> State:
        return {"score": torch.zeros_like(weight, dtype=torch.float32)}

    def observe(self, state: State, weight: Tensor, gradient: Tensor) -> None:
        score = state["score"]
        if self.config.momentum < 1.0:
            score.mul_(self.config.momentum)
        change = weight.to(score.dtype) * gradient.to(score.dtype)
        score.sub_(change)
        if self.config.saliency > 0.0:
            score.add_(change.abs_(), alpha=self.config.saliency)

    def score(self, weight: Tensor, state: State, index: int) -> Tensor:
        return state["score"]
