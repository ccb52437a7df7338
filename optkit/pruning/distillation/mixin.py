"""Distillation from a teacher under transformers' Trainer: logits, and beside them hidden states, attention and
sentences.

Logits: Hinton et al. 2015, https://arxiv.org/abs/1503.02531.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, mse_loss
from transformers import PreTrainedConfig, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from optkit.errors import PruningError
from optkit.pruning.distillation.matching import StateMatcher, accepted_inputs
from optkit.pruning.distillation.pooled import PooledDistillation, PooledMatcher
from optkit.pruning.distillation.states import AttentionDistillation, HiddenDistillation, over_tokens
from optkit.pruning.permutation.permute import Permutation

#: The label of a row without one, as torch's losses know it.
UNLABELLED = -100


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float, mask: Tensor | None = None) -> Tensor:
    """T^2 * KL(teacher || student) of logits softened by ``temperature``, a mean over the batch.

    Args:
        student, teacher: (batch, classes), or (batch, seq, classes) of tokens, over which it is a mean first.
        mask: (batch, seq), 1 for real tokens; None when all are.
    """
    log_student = log_softmax(student / temperature, dim=-1)
    log_teacher = log_softmax(teacher / temperature, dim=-1)
    if student.dim() == 2:
        return kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2
    each = kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(-1)
    return over_tokens(each, mask) * temperature**2


def independent_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The same of labels that do not exclude each other: of each logit (batch, labels) the divergence of two outcomes,
    added over labels, a mean over the batch.
    """
    both = [torch.stack((logits / temperature, torch.zeros_like(logits)), dim=-1) for logits in (student, teacher)]
    log_student, log_teacher = (log_softmax(pair, dim=-1) for pair in both)
    return kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2


def output_loss(
    ours: Any, theirs: Any, temperature: float, *, problem: str | None = None, mask: Tensor | None = None
) -> Tensor:
    """What a student's outputs differ from a teacher's by, whatever its task; a scalar.

    Args:
        ours, theirs: the models' outputs: ``logits``, or ``start_logits`` and ``end_logits`` (batch, seq) of answers,
            whose losses are averaged.
        problem: transformers' ``problem_type`` of a sequence classifier. Scores (``regression``) are compared by their
            mean squared error, which no temperature changes; independent labels each by itself.
        mask: (batch, seq), 1 for real tokens; None when all are.

    Raises:
        PruningError: for a model whose outputs are no logits.
    """
    if (student := _part(ours, "logits")) is not None:
        teacher = _part(theirs, "logits").to(student.dtype)
        if problem == "regression":
            return mse_loss(student, teacher)
        if problem == "multi_label_classification":
            return independent_loss(student, teacher, temperature)
        return distillation_loss(student, teacher, temperature, mask)
    if _part(ours, "start_logits") is None:
        raise PruningError("the model puts out no logits to compare: distil hidden states alone, with a weight of 0")
    terms = []
    for name in ("start_logits", "end_logits"):
        student = _part(ours, name)
        teacher = _part(theirs, name).to(student.dtype)
        if mask is not None:  # an answer neither begins nor ends in padding
            lowest = torch.finfo(student.dtype).min / 2 * min(temperature, 1.0)  # finite once it is divided by it
            student, teacher = (logits.masked_fill(mask == 0, lowest) for logits in (student, teacher))
        terms.append(distillation_loss(student, teacher, temperature))
    return (terms[0] + terms[1]) / 2


def _part(outputs: Any, name: str) -> Tensor | None:
    return outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)


def over_all_rows(loss: Tensor, labels: Tensor | None) -> Tensor:
    """A task loss that is a mean over labelled rows, as the mean over all rows of which the unlabelled cost nothing.

    Args:
        loss: a scalar; NaN where no row is labelled.
        labels: (batch, ...) class ids, a row being unlabelled when all of its are -100; or numbers, all of them labels.
    """
    if labels is None or labels.is_floating_point():
        return loss
    share = (labels.reshape(len(labels), -1) != UNLABELLED).any(1).float().mean()
    return torch.where(share > 0, loss * share, 0.0)


class DistillationMixin:
    """Adds distillation to a Trainer: ``class MyTrainer(DistillationMixin, Trainer)``.

    The loss is (1 - weight) * task loss + weight * T^2 * KL(teacher || student), and, where asked for, the terms of
    hidden states and attention, each with a weight of its own. Of tokens, answers, independent labels and scores the
    second term is what ``output_loss`` says. The teacher's logits come with the batch as
    ``teacher_logits`` (batch, classes) where the data set has that column (set ``remove_unused_columns`` to False,
    then), else ``teacher`` is run on the batch, as it is for hidden states and attention. Rows whose class id is -100
    have none (scores and independent labels know no such row): the teacher alone teaches them. Evaluation is left as
    it is.

    Where hidden states differ in width, the student has a submodule ``hidden_projections`` until training ends: it is
    learned, and saved in checkpoints, which still load as plain models.

    Args:
        teacher: a model with the student's classes and tokenizer, or None when the data set brings logits.
        temperature: softens both distributions, above 0.
        distillation_weight: share of the distillation loss, in [0, 1].
        hidden: compare hidden states, too.
        attention: compare attention, too.
        pooled: compare pooled states, too, which come with the batch as ``teacher_states`` (batch, layers * width).
        pooled_teacher: the config of the model whose pooled states they are.
        permutation: how the student's features were reordered (``optkit.pruning.permute``) since it was a copy of the
            teacher, or compared with it; hidden states and attention are compared feature by feature, and follow.

    Raises:
        PruningError: if hidden states or attention of the two models do not compare, or there is no teacher to ask.
    """

    def __init__(
        self,
        *args: Any,
        teacher: nn.Module | None = None,
        temperature: float = 2.0,
        distillation_weight: float = 0.9,
        hidden: HiddenDistillation | None = None,
        attention: AttentionDistillation | None = None,
        pooled: PooledDistillation | None = None,
        pooled_teacher: PreTrainedConfig | None = None,
        permutation: Permutation | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.teacher = None if teacher is None else teacher.to(self.args.device).eval().requires_grad_(False)
        self.temperature = temperature
        self.distillation_weight = distillation_weight
        self.states: StateMatcher | None = None
        # The loss below is a mean over the micro-batch, so the Trainer has to average over accumulated ones.
        self.model_accepts_loss_kwargs = False
        if hidden is not None or attention is not None:
            # After the masks are on, which look for linear layers, and before the optimizer takes the parameters.
            self._match(hidden, attention, permutation)
        self.pooled: PooledMatcher | None = None
        if pooled is not None:
            if pooled_teacher is None:
                raise PruningError("pooled states come with the data: give the config of their model, pooled_teacher")
            self.pooled = PooledMatcher(self.model, pooled_teacher, pooled)
            self.add_callback(_TakesOff(self.pooled))

    def _match(
        self,
        hidden: HiddenDistillation | None,
        attention: AttentionDistillation | None,
        permutation: Permutation | None,
    ) -> None:
        if self.teacher is None:
            raise PruningError("hidden states and attention are compared batch by batch: give a teacher")
        if self.args.n_gpu > 1:
            raise PruningError(
                "hidden states and attention need a process for each GPU: start the training with torchrun"
            )
        if attention is not None and (self.args.gradient_checkpointing_kwargs or {}).get("use_reentrant"):
            raise PruningError("attention: reentrant gradient checkpointing hides layers: set use_reentrant to False")
        self.states = StateMatcher(self.model, self.teacher, hidden, attention, permutation)
        self.add_callback(_TakesOff(self.states))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        logits, pooled = inputs.pop("teacher_logits", None), inputs.pop("teacher_states", None)
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs)
        if logits is None and self.teacher is None:
            plain = super().compute_loss(model, inputs, return_outputs)
            return (self._of_micro_batch(plain[0]), plain[1]) if return_outputs else self._of_micro_batch(plain)
        labels, options = inputs.get("labels"), self.states.requests if self.states else {}
        if self.pooled:
            options = {**options, "output_hidden_states": True}
        if self.states:
            self.states.watch(True)
        task, outputs = super().compute_loss(model, {**inputs, **options}, return_outputs=True)
        theirs = None
        if logits is None or self.states:
            with torch.no_grad(), self.accelerator.autocast():
                theirs = self.teacher(**accepted_inputs(self.teacher, inputs), **options)
        loss = (1.0 - self.distillation_weight) * over_all_rows(task, labels)
        if self.distillation_weight:
            known = theirs if logits is None else {"logits": logits}
            loss = loss + self.distillation_weight * self.soft_loss(outputs, known, inputs)
        if self.states:
            loss = loss + self.states.loss(outputs, theirs, inputs.get("attention_mask"))
            self.states.watch(False)
        if self.pooled:
            loss = loss + self.pooled.loss(outputs, pooled, inputs.get("attention_mask"))
        loss = self._of_micro_batch(loss)
        return (loss, outputs) if return_outputs else loss

    def _of_micro_batch(self, loss: Tensor) -> Tensor:
        """The share of a micro-batch in the loss of a step: with a ``compute_loss_func`` the Trainer takes no mean over
        them itself.
        """
        if self.compute_loss_func is None:
            return loss
        return loss / getattr(self, "current_gradient_accumulation_steps", self.args.gradient_accumulation_steps)

    def soft_loss(self, ours: Any, theirs: Any, inputs: Mapping[str, Any]) -> Tensor:
        """What the student's outputs on ``inputs`` differ from the teacher's by, a scalar: ``output_loss``.

        Args:
            ours: the student's outputs.
            theirs: the teacher's, or ``{"logits": tensor}`` where they came with the batch.
        """
        problem = getattr(getattr(self.model, "config", None), "problem_type", None)
        mask = inputs.get("attention_mask")
        return output_loss(ours, theirs, self.temperature, problem=problem, mask=mask)


class _TakesOff(TrainerCallback):
    """Leaves the student plain when training has ended."""

    def __init__(self, states: StateMatcher | PooledMatcher):
        self.states, self.ended = states, False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.ended:
            raise PruningError("hidden states and attention were let go when training ended: build another Trainer")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.states.remove()
        self.ended = True
