"""Importance of weights, one file a criterion.

A criterion scores each weight; the structure sums scores into groups, and the groups with the lowest sums are pruned.
"""

from __future__ import annotations

from optkit.pruning.config import ONE_SHOT, Frozen, Magnitude, Movement, Obert, Random, SoftMovement, Taylor, Wanda
from optkit.pruning.config import Criterion as CriterionConfig
from optkit.pruning.criteria.base import Criterion
from optkit.pruning.criteria.frozen import FrozenCriterion
from optkit.pruning.criteria.magnitude import MagnitudeCriterion
from optkit.pruning.criteria.movement import MovementCriterion
from optkit.pruning.criteria.obert import ObertCriterion
from optkit.pruning.criteria.random import RandomCriterion
from optkit.pruning.criteria.soft_movement import SoftMovementCriterion
from optkit.pruning.criteria.taylor import TaylorCriterion
from optkit.pruning.criteria.wanda import WandaCriterion

_IMPLEMENTATIONS: dict[type, type[Criterion]] = {
    Magnitude: MagnitudeCriterion,
    Movement: MovementCriterion,
    SoftMovement: SoftMovementCriterion,
    Taylor: TaylorCriterion,
    Wanda: WandaCriterion,
    Obert: ObertCriterion,
    Random: RandomCriterion,
    Frozen: FrozenCriterion,
    # Those of pruning/oneshot have an interface of their own, and nothing to accumulate or to score here.
    **dict.fromkeys(ONE_SHOT, Criterion),
}


def build(config: CriterionConfig) -> Criterion:
    """The implementation of a criterion's config."""
    return _IMPLEMENTATIONS[type(config)](config)
