"""Importance is the absolute value (Zhu & Gupta 2017, https://arxiv.org/abs/1710.01878)."""

from __future__ import annotations

from torch import Tensor

from optkit.pruning.config import Magnitude


class MagnitudeCriterion:
    stateful = False

    def __init__(self, config: Magnitude):
        self.config = config

    def observe(self, state: Tensor, weight: Tensor, gradient: Tensor) -> None:
        """Nothing to remember."""

    def score(self, weight: Tensor, state: Tensor | None, index: int) -> Tensor:
        return weight.abs()
