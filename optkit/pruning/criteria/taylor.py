"""Importance is what removing a weight does to the loss, to first order (Molchanov et al. 2019,
https://arxiv.org/abs/1906.10771).

Setting w to zero changes the loss by about -w * dL/dw. Its absolute value, taken once an optimizer step from the
gradient of the whole step, is averaged over steps with exponential momentum. Absolute values rather than the paper's
squares rank single weights of one step alike, and neither one step nor one weight of a block decides alone in a sum.
With momentum 0 only the last step counts, as in SNIP (Lee et al. 2019, https://arxiv.org/abs/1810.02340).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import threshold_

from optkit.pruning.config.criteria import Taylor
from optkit.pruning.criteria.base import Criterion, State


class TaylorCriterion(Criterion):
    config: Taylor
    watches = frozenset({"gradients"})

    def state(self, weight: Tensor) -> State:
        return {"score": torch.zeros_like(weight, dtype=torch.float32)}

    def observe(self, state: State, weight: Tensor, gradient: Tensor) -> None:
        score = state["score"]
        change = (weight.to(score.dtype) * gradient.to(score.dtype)).abs_()
        score.mul_(self.config.momentum).add_(change, alpha=1.0 - self.config.momentum)
        # The average of a masked weight decays for ever; many CPUs compute slowly once numbers are subnormal.
        threshold_(score, torch.finfo(score.dtype).tiny, 0.0)

    def score(self, weight: Tensor, state: State, index: int) -> Tensor:
        return state["score"]
