"""Importance is the absolute value (Zhu & Gupta 2017, https://arxiv.org/abs/1710.01878)."""

from __future__ import annotations

import torch
from torch import Tensor

from optkit.pruning.criteria.base import Criterion, State


class MagnitudeCriterion(Criterion):
    def score(self, weight: Tensor, state: State, index: int) -> Tensor:
        # In bfloat16 sums over groups would be rounded to few digits, and ranked by that.
        return weight.abs().to(torch.promote_types(weight.dtype, torch.float32))
