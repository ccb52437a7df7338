"""Keeps the zeros that are there: every group that holds a non-zero stays, whatever its size."""

from __future__ import annotations

import torch
from torch import Tensor

from optkit.pruning.criteria.base import Criterion, State


class FrozenCriterion(Criterion):
    def score(self, weight: Tensor, state: State, index: int) -> Tensor:
        return (weight != 0).to(torch.float32)
