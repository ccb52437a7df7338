"""Importance of weights, one file a criterion.

A criterion scores each weight; the structure sums scores into groups, and the groups with the lowest sums are pruned.
"""

from __future__ import annotations

from optkit.pruning.config import Criterion as CriterionConfig
from optkit.pruning.config import Frozen, Magnitude, Movement, Random, Taylor
from optkit.pruning.criteria.base import Criterion
from optkit.pruning.criteria.frozen import FrozenCriterion
from optkit.pruning.criteria.magnitude import MagnitudeCriterion
from optkit.pruning.criteria.movement import MovementCriterion
from optkit.pruning.criteria.random import RandomCriterion
from optkit.pruning.criteria.taylor import TaylorCriterion

_IMPLEMENTATIONS: dict[type, type[Criterion]] = {
    Magnitude: MagnitudeCriterion,
    Movement: MovementCriterion,
    Taylor: TaylorCriterion,
    Random: RandomCriterion,
    Frozen: FrozenCriterion,
}


def build(config: CriterionConfig) -> Criterion:
    """The implementation of a criterion's config."""
    return _IMPLEMENTATIONS[type(config)](config)
