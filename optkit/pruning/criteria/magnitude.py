"""Importance is the absolute value (Zhu & Gupta 2017, https://arxiv.org/abs/1710.01878)."""

from __future__ import annotations

from torch import Tensor

from optkit.pruning.criteria.base import Criterion, State


class MagnitudeCriterion(Criterion):
    def score(self, weight: Tensor, state: State, index: int) -> Tensor:
        return weight.abs()
