"""Importance of weights, one file a criterion.

A criterion scores each weight; the structure sums scores into groups, and the groups with the lowest sums are pruned.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from optkit.pruning.config import Criterion as CriterionConfig
from optkit.pruning.config import Frozen, Magnitude, Movement, Random, Taylor
from optkit.pruning.criteria.frozen import FrozenCriterion
from optkit.pruning.criteria.magnitude import MagnitudeCriterion
from optkit.pruning.criteria.movement import MovementCriterion
from optkit.pruning.criteria.random import RandomCriterion
from optkit.pruning.criteria.taylor import TaylorCriterion


class Criterion(Protocol):
    """What pruning asks of a criterion. Weights, gradients, state and scores have the weight's shape (out, in)."""

    stateful: bool  #: whether it accumulates something over training, kept in a buffer of the checkpoint

    def observe(self, state: Tensor, weight: Tensor, gradient: Tensor) -> None:
        """Updates ``state`` in place, once an optimizer step, just before it; ``gradient`` is the masked weight's."""

    def score(self, weight: Tensor, state: Tensor | None, index: int) -> Tensor:
        """Importance of each weight, higher stays; ``index`` is the layer's place among those the rule matched."""


_IMPLEMENTATIONS = {
    Magnitude: MagnitudeCriterion,
    Movement: MovementCriterion,
    Taylor: TaylorCriterion,
    Random: RandomCriterion,
    Frozen: FrozenCriterion,
}


def build(config: CriterionConfig) -> Criterion:
    """The implementation of a criterion's config."""
    return _IMPLEMENTATIONS[type(config)](config)
