"""Pruning in one shot: a model that is fine-tuned already, a few hundred calibration examples, no training."""

from __future__ import annotations

from optkit.pruning.oneshot.one_shot import one_shot

__all__ = ["one_shot"]
