"""Importance is a weight times the size of what it is multiplied with (Sun et al. 2023,
https://arxiv.org/abs/2306.11695): |w_ij| * ||x_j||, with ||x_j|| the root mean square of input channel j over tokens.

It is made for pruning without training, where it beats magnitude clearly (docs/oneshot.md). Where weights are trained
further it did as well as magnitude and no better (docs/accuracy.md).

Squares and tokens are both summed and fade together, once an optimizer step. Their ratio is then the moving average of
the mean square without a correction for its start, in which every token of a step counts alike: also where a step has
several forward passes, a layer is used several times in one, or ranks saw different numbers of tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optkit.pruning.config.criteria import Wanda
from optkit.pruning.criteria.base import Criterion, State


class WandaCriterion(Criterion):
    config: Wanda
    watches = frozenset({"gradients", "inputs"})  # of the gradients only that a step ends
    reduced = ("square", "tokens")

    def state(self, weight: Tensor) -> State:
        square = torch.zeros(weight.shape[1], dtype=torch.float32, device=weight.device)
        return {"square": square, "tokens": square.new_zeros(())}

    def observe_inputs(self, state: State, inputs: Tensor, count: Tensor | int) -> None:
        if inputs.dtype == torch.float64:  # which vector_norm does not narrow
            inputs = inputs.float()
        state["square"] += torch.linalg.vector_norm(inputs, dim=0, dtype=torch.float32).square_()
        state["tokens"] += count

    def observe(self, state: State, weight: Tensor, gradient: Tensor) -> None:
        state["square"] *= self.config.momentum
        state["tokens"] *= self.config.momentum

    def score(self, weight: Tensor, state: State, index: int) -> Tensor:
        # A layer that no token has reached yet scores 0.0 throughout.
        tokens = state["tokens"].clamp(min=torch.finfo(torch.float32).tiny)
        return weight.abs().float() * (state["square"] / tokens).sqrt()
