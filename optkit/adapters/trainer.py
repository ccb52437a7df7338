"""transformers' Trainer: progress, and the loop left as it is.

The one subclass here changes what the loss is (distillation), the order of examples and the learning rate, nothing of
the loop.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Sampler, SequentialSampler
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_pt_utils import get_length_grouped_indices

from optkit.adapters import quiet
from optkit.adapters.arguments import precision_of
from optkit.pruning.callback import save_under_own_names
from optkit.pruning.distillation.mixin import DistillationMixin
from optkit.pruning.learning_rate import rewinding_lr


def lengths(encoded: Any) -> list[int]:
    """Tokens of each example, of the longest text of several; all are alike where there are no tokens."""
    if "input_ids" not in encoded.column_names:
        return [1] * len(encoded)
    texts = [encoded.with_format(None)[name] for name in encoded.column_names if name.endswith("input_ids")]
    return [max(map(len, own)) for own in zip(*texts, strict=True)]


class LengthGroupedSampler(Sampler):
    """Batches of similar length in an order that is a function of seed and epoch alone.

    transformers' own draws from the global generator, whose state differs when a run is resumed.

    Args:
        lengths: tokens of each example.
        batch: examples of one optimizer step, those of all processes.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int):
        self.lengths, self.batch, self.seed, self.epoch = list(lengths), batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch, generator=generator))


class Objective(Protocol):
    """What a task brings where a model's own loss is not what is wanted. All get a model's output and its batch."""

    def outputs(self, found: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """What counts of the output, (examples, ...)."""

    def loss(self, found: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """A scalar, by the batch's ``labels``; 0 where there are none."""

    def distance(self, ours: Any, theirs: Any, batch: Mapping[str, Any], temperature: float) -> torch.Tensor:
        """How far a student's output is from a teacher's, a scalar; cached ones are ``{"logits": tensor}``. What are
        distributions is softened by ``temperature``.
        """


def task_loss(model: nn.Module, inputs: Mapping[str, Any], objective: Objective | None) -> tuple[torch.Tensor, Any]:
    """The loss of ``model`` on a batch, by itself or by an objective; and its output."""
    if objective is None:
        found = model(**inputs)
        return found.loss, found
    found = model(**{name: value for name, value in inputs.items() if name != "labels"})
    return objective.loss(found, inputs), found


class ObjectiveTrainer(Trainer):
    """Trainer whose loss is an objective's where there is one.

    Args:
        objective: see ``Objective``; None for a model that computes a loss from its labels.
    """

    def __init__(self, *args: Any, objective: Objective | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.objective = objective
        if objective is not None:
            self.label_names = ["labels"]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        if self.objective is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss, found = task_loss(model, inputs, self.objective)
        if not model.training:
            # An evaluation gathers what counts alone: a row for each example.
            found = {"logits": self.objective.outputs(found, inputs)}
        return (loss, found) if return_outputs else loss


class OptkitTrainer(DistillationMixin, ObjectiveTrainer):
    """Trainer with distillation and an order of examples that survives a resume.

    Where the collator has a ``begin(seed, epoch)``, it is called before each epoch.

    Args:
        eval_collator: makes the batches of an evaluation; None for the one that makes those of the training.
        rewinds: steps at which the learning rate returns to its peak; None for the schedule that the arguments say.
        lr_floor: share of the peak that it decays to in between.
    """

    def __init__(
        self,
        *args: Any,
        rewinds: Sequence[int] | None = None,
        lr_floor: float = 0.0,
        eval_collator: Callable | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.rewinds, self.lr_floor, self.eval_collator = rewinds, lr_floor, eval_collator
        if hasattr(self.data_collator, "begin"):
            self.add_callback(_BeginsEpochs(self.data_collator))

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        if self.rewinds is not None and self.lr_scheduler is None:
            warmup = self.args.get_warmup_steps(num_training_steps)
            options = {"warmup": warmup, "floor": self.lr_floor}
            self.lr_scheduler = rewinding_lr(optimizer or self.optimizer, self.rewinds, num_training_steps, **options)
        return super().create_scheduler(num_training_steps, optimizer)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        dataset = self.train_dataset if train_dataset is None else train_dataset
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return LengthGroupedSampler(lengths(dataset), batch, self.args.seed)

    def soft_loss(self, ours: Any, theirs: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
        if self.objective is None:
            return super().soft_loss(ours, theirs, inputs)
        return self.objective.distance(ours, theirs, inputs, self.temperature)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        training, self.data_collator = self.data_collator, self.eval_collator or self.data_collator
        # Every example of an evaluation counts, also where a last batch of the training is dropped.
        dropped, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator, self.args.dataloader_drop_last = training, dropped

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler | None:
        # In the order of the examples, however the training is sampled: answers are compared one by one.
        return SequentialSampler(eval_dataset)


class _BeginsEpochs(TrainerCallback):
    """Tells a collator which epoch begins, so that what it draws is a function of seed and epoch, resumed or not."""

    def __init__(self, collator: Any):
        self.collator = collator

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.collator.begin(args.seed, int(state.epoch or 0))


class Watch(TrainerCallback):
    """Hands each log of the Trainer on: ``tell(step, total, logs)``; ``logs`` is empty between logs."""

    def __init__(self, tell: Callable[[int, int, Mapping[str, float]], None]):
        self.tell = tell

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        self.tell(state.global_step, state.max_steps, {})

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict, **kwargs
    ) -> None:
        self.tell(state.global_step, state.max_steps, logs)


def build(
    model: nn.Module,
    args: TrainingArguments,
    *,
    train_dataset: Any,
    eval_dataset: Any = None,
    collator: Callable,
    callbacks: Sequence[TrainerCallback] = (),
    **more: Any,
) -> OptkitTrainer:
    """A Trainer that prints nothing itself. The first of ``callbacks`` comes before the Trainer's own, so that trackers
    see what it adds to logs. ``more`` goes on to OptkitTrainer.
    """
    save_under_own_names(model)
    with quiet():
        trainer = OptkitTrainer(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            data_collator=collator,
            callbacks=[*callbacks],
            **more,
        )
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    handler = trainer.callback_handler
    handler.callbacks.sort(key=lambda callback: callback is not next(iter(callbacks), None))
    return trainer


def train(trainer: OptkitTrainer, resume: Path | None) -> int:
    """Trains to the end, from the checkpoint ``resume`` if there is one, and returns the step it began at."""
    trainer.add_callback(_NothingLeft())
    kernels = attention_kernels(precision_of(vars(trainer.args)), trainer.args.device.type)
    with quiet(), _one_tokenizer_thread(), kernels:
        try:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        except _Trained:
            trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
    return int(resume.name.removeprefix("checkpoint-")) if resume else 0


class _Trained(Exception):
    """There is no step to do."""


class _NothingLeft(TrainerCallback):
    """Keeps a training that was resumed at its last step from one more, which the Trainer does in mid-epoch."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if state.global_step >= state.max_steps:
            raise _Trained


@contextmanager
def attention_kernels(precision: torch.dtype | None, device: str) -> Iterator[None]:
    """On CPUs in bfloat16 torch's fused attention takes three times as long as the plain one, for short inputs."""
    if not (precision == torch.bfloat16 and device == "cpu"):
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def _one_tokenizer_thread() -> Iterator[None]:
    """Workers of a data loader are forks, in which tokenizers' threads are gone: it warns of that unless told."""
    name = "TOKENIZERS_PARALLELISM"
    if name in os.environ:
        yield
        return
    os.environ[name] = "false"
    try:
        yield
    finally:
        del os.environ[name]


def seed_everything(seed: int) -> None:
    """Seeds Python, numpy and torch, before weights are made and before data is shuffled."""
    set_seed(seed)
