"""Pruning in one shot: a model that is fine-tuned already, a few hundred calibration examples, no training."""

from __future__ import annotations

from optkit.pruning.oneshot.one_shot import needs_loss, one_shot

__all__ = ["needs_loss", "one_shot"]
