"""Importance of weights, one file a criterion.

A criterion scores each weight; the structure sums scores into groups, and the groups with the lowest sums are pruned.
"""

from __future__ import annotations

from importlib import import_module

from optkit.pruning.config import ONE_SHOT
from optkit.pruning.config import Criterion as CriterionConfig
from optkit.pruning.criteria.base import Criterion


def build(config: CriterionConfig) -> Criterion:
    """The implementation of a criterion's ``config``: for ``Movement``, whose name is "movement", it is
    ``MovementCriterion`` in criteria/movement.py.
    """
    if isinstance(config, ONE_SHOT):
        # Those of pruning/oneshot have an interface of their own, and nothing to accumulate or to score here.
        return Criterion(config)
    module = import_module(f"optkit.pruning.criteria.{config.name}")
    return getattr(module, f"{type(config).__name__}Criterion")(config)
