"""Keeps the zeros that are there: every group that holds a non-zero stays, whatever its size."""

from __future__ import annotations

import torch
from torch import Tensor

from optkit.pruning.config import Frozen


class FrozenCriterion:
    stateful = False

    def __init__(self, config: Frozen):
        self.config = config

    def observe(self, state: Tensor, weight: Tensor, gradient: Tensor) -> None:
        """Nothing to remember."""

    def score(self, weight: Tensor, state: Tensor | None, index: int) -> Tensor:
        return (weight != 0).to(torch.float32)
