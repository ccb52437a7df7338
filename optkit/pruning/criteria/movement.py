"""Importance is how far training moved a weight away from zero (Sanh et al. 2020, https://arxiv.org/abs/2005.07683).

The paper updates learned scores S by the straight-through gradient dL/dS = dL/dW' * W, where W' is the masked weight.
With plain gradient descent on S that is the running sum of -W * dL/dW', which is kept here as the criterion's own
state: no score goes through the optimizer, and no threshold either, since selection counts exactly.
"""

from __future__ import annotations

from torch import Tensor

from optkit.pruning.config import Movement


class MovementCriterion:
    stateful = True

    def __init__(self, config: Movement):
        self.config = config

    def observe(self, state: Tensor, weight: Tensor, gradient: Tensor) -> None:
        if self.config.momentum < 1.0:
            state.mul_(self.config.momentum)
        state.addcmul_(weight.to(state.dtype), gradient.to(state.dtype), value=-1.0)

    def score(self, weight: Tensor, state: Tensor | None, index: int) -> Tensor:
        assert state is not None
        return state
