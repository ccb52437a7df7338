"""Distillation of logits from a teacher (Hinton et al. 2015, https://arxiv.org/abs/1503.02531)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) of logits (batch, classes) softened by ``temperature``, averaged over the batch."""
    log_student = log_softmax(student / temperature, dim=-1)
    log_teacher = log_softmax(teacher / temperature, dim=-1)
    return kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2


class DistillationMixin:
    """Adds logit distillation to a Trainer: ``class MyTrainer(DistillationMixin, Trainer)``.

    The loss is (1 - weight) * task loss + weight * T^2 * KL(teacher || student). The teacher's logits come with the
    batch as ``teacher_logits`` (batch, classes) where the data set has that column (set ``remove_unused_columns`` to
    False, then), else ``teacher`` is run on the batch. Evaluation is left as it is.

    Args:
        teacher: a model with the student's classes and tokenizer, or None when the data set brings logits.
        temperature: softens both distributions, above 0.
        distillation_weight: share of the distillation loss, in [0, 1].
    """

    def __init__(
        self,
        *args: Any,
        teacher: nn.Module | None = None,
        temperature: float = 2.0,
        distillation_weight: float = 0.9,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.teacher = None if teacher is None else teacher.to(self.args.device).eval().requires_grad_(False)
        self.temperature = temperature
        self.distillation_weight = distillation_weight
        # The loss below is a mean over the micro-batch, so the Trainer has to average over accumulated ones.
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        logits = inputs.pop("teacher_logits", None)
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        if model.training and (logits is not None or self.teacher is not None):
            if logits is None:
                with torch.no_grad():
                    logits = self.teacher(**{k: v for k, v in inputs.items() if k != "labels"}).logits
            soft = distillation_loss(outputs.logits, logits.to(outputs.logits.dtype), self.temperature)
            loss = (1.0 - self.distillation_weight) * loss + self.distillation_weight * soft
        return (loss, outputs) if return_outputs else loss
