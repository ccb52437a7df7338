"""The first step of a training on a model of one layer: shows which TrainingArguments it cannot start with."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from optkit.adapters import trainer
from optkit.models.shrinking import special_tokens, with_layers

#: Most tokens of the stand-in's vocabulary: of large ones the embeddings alone would take seconds.
_VOCABULARY = 2048


def stand_in(model: PreTrainedModel) -> PreTrainedModel:
    """A model of the class of ``model`` (on the meta device) with one layer, or one of each kind, and random weights;
    of its depth where its configuration knows no number of layers.
    """
    small = with_layers(model.config, 1)
    if getattr(small, "vocab_size", 0) > _VOCABULARY > max(special_tokens(small), default=0):
        small.vocab_size = _VOCABULARY
    for config in (small, model.config):
        try:
            return type(model)(config).float()
        except Exception as error:  # whatever an architecture says of a depth that it was not made for
            failed = error
    raise failed


def first_step(
    model: PreTrainedModel,
    args: TrainingArguments,
    examples: Any,
    task: Any,
    processor: Any,
    *,
    evaluates: bool,
    scores: bool,
) -> None:
    """Trains a stand-in of ``model`` for one step on ``examples`` and, if asked, evaluates it, as a training with
    ``args`` would.

    Args:
        model: on the meta device.
        args: with the real number of steps, which schedules of the learning rate are made for.
        task: see ``optkit.tasks.base.Task``.
        evaluates: whether the training evaluates.
        scores: whether its predictions are used, and not its loss alone.

    Raises:
        Exception: whatever the Trainer, or a package that it looks for, raises.
    """
    with _random_states():
        small = stand_in(model)
        built = trainer.build(
            small,
            args,
            train_dataset=examples,
            eval_dataset=examples if evaluates else None,
            collator=_within(task.collator(processor), small),
            eval_collator=_within(task.collator(processor, training=False), small),
            callbacks=[_Stops(evaluates)],
            compute_metrics=_predictions(examples, task) if scores else None,
            objective=task.objective,
        )
        trainer.train(built, None)


class _Stops(TrainerCallback):
    """Ends a training after its first step, and an evaluation if there is to be one."""

    def __init__(self, evaluates: bool):
        self.evaluates = evaluates

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        control.should_training_stop, control.should_evaluate, control.should_save = True, self.evaluates, False

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        control.should_evaluate = control.should_save = False


def _within(collate: Callable, model: nn.Module) -> Callable:
    """``collate``, with token ids that the stand-in's vocabulary holds."""
    most = getattr(model.config, "vocab_size", None)

    def collator(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch = dict(collate(examples))
        if most is not None and "input_ids" in batch:
            batch["input_ids"] = batch["input_ids"].clamp(max=most - 1)
            labels = batch.get("labels")
            if labels is not None and not labels.is_floating_point() and labels.dim() == 2:
                batch["labels"] = labels.clamp(max=most - 1)
        return batch

    if hasattr(collate, "begin"):
        collator.begin = collate.begin
    return collator


def _predictions(examples: Any, task: Any) -> Callable[[Any], dict[str, float]]:
    def compute(prediction: Any) -> dict[str, float]:
        outputs = task.postprocess(prediction.predictions)
        if len(outputs) != len(examples):
            raise ValueError(f"{len(outputs)} predictions come of {len(examples)} examples")
        return {name: 0.0 for name in task.metrics.names}

    return compute


@contextmanager
def _random_states() -> Iterator[None]:
    """Leaves the generators of Python, numpy and torch as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
