"""Pruning while a model is fine-tuned, or in one shot; needs torch and transformers only.

The names are imported on first use, so that a rule can be written without loading torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.lazy import lazy_attributes
from optkit.pruning.config.criteria import CRITERIA

if TYPE_CHECKING:
    from optkit.pruning.averaging import WeightAverage
    from optkit.pruning.callback import PruningCallback
    from optkit.pruning.compaction.checkpoint import load_compact, save_compact
    from optkit.pruning.compaction.compaction import compact
    from optkit.pruning.config import (
        FisherSearch,
        Frozen,
        Magnitude,
        Movement,
        Obert,
        Random,
        Reconstruction,
        Rule,
        Schedule,
        SoftMovement,
        Structure,
        Taylor,
        Wanda,
    )
    from optkit.pruning.distillation.mixin import DistillationMixin, distillation_loss
    from optkit.pruning.distillation.pooled import PooledDistillation
    from optkit.pruning.distillation.states import AttentionDistillation, HiddenDistillation
    from optkit.pruning.learning_rate import rewind_steps, rewinding_lr
    from optkit.pruning.oneshot.one_shot import one_shot
    from optkit.pruning.permutation.permute import Permutation, permute
    from optkit.pruning.pruner import Pruner

__all__ = [
    "AttentionDistillation",
    "DistillationMixin",
    "FisherSearch",
    "Frozen",
    "HiddenDistillation",
    "Magnitude",
    "Movement",
    "Obert",
    "Permutation",
    "PooledDistillation",
    "Pruner",
    "PruningCallback",
    "Random",
    "Reconstruction",
    "Rule",
    "Schedule",
    "SoftMovement",
    "Structure",
    "Taylor",
    "Wanda",
    "WeightAverage",
    "compact",
    "distillation_loss",
    "load_compact",
    "one_shot",
    "permute",
    "rewind_steps",
    "rewinding_lr",
    "save_compact",
]

#: The module of each public name.
_NAMES = {
    "PruningCallback": "optkit.pruning.callback",
    "Pruner": "optkit.pruning.pruner",
    "DistillationMixin": "optkit.pruning.distillation.mixin",
    "distillation_loss": "optkit.pruning.distillation.mixin",
    "HiddenDistillation": "optkit.pruning.distillation.states",
    "PooledDistillation": "optkit.pruning.distillation.pooled",
    "AttentionDistillation": "optkit.pruning.distillation.states",
    "WeightAverage": "optkit.pruning.averaging",
    "rewinding_lr": "optkit.pruning.learning_rate",
    "rewind_steps": "optkit.pruning.learning_rate",
    "compact": "optkit.pruning.compaction.compaction",
    "save_compact": "optkit.pruning.compaction.checkpoint",
    "load_compact": "optkit.pruning.compaction.checkpoint",
    "Rule": "optkit.pruning.config",
    "Schedule": "optkit.pruning.config",
    "Structure": "optkit.pruning.config",
    "one_shot": "optkit.pruning.oneshot",
    "Permutation": "optkit.pruning.permutation.permute",
    "permute": "optkit.pruning.permutation.permute",
    **{criterion.__name__: criterion.__module__ for criterion in CRITERIA.values()},
}

if not TYPE_CHECKING:  # else a type checker would take every name for a public one
    __getattr__ = lazy_attributes(__name__, _NAMES)
