"""Passes of a model over data outside a training: what it puts out, and how long a step takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import TrainingArguments

from optkit.adapters.arguments import precision_of
from optkit.adapters.trainer import Objective, attention_kernels, lengths, task_loss
from optkit.pruning.distillation.matching import accepted_inputs
from optkit.pruning.distillation.pooled import pool

#: Hears how many examples are done, of how many.
Tell = Callable[[int, int, Mapping[str, float]], None]


def _silent(done: int, total: int, facts: Mapping[str, float]) -> None:
    pass


def predict(
    model: Any,
    encoded: Any,
    task: Any,
    processor: Any,
    *,
    batch_size: int = 32,
    precision: torch.dtype | None = None,
    tell: Tell = _silent,
) -> np.ndarray:
    """What ``task`` keeps of a model's outputs on each example of ``encoded``, float32 (examples, ...) in its order.

    Examples are batched by length, so that little is spent on padding; of outputs of unequal shapes the shorter end in
    zeros. ``tell`` hears how many are done, of how many.

    Args:
        model: a torch or OpenVINO model called with a batch.
        task: see ``optkit.tasks.base.Task``.
        processor: the model's tokenizer or image processor.
        precision: the type that a torch model's products are computed in, by autocast; None for that of its weights.
    """
    return _passes(model, encoded, task, processor, [task.outputs], {}, batch_size, precision, tell)[0]


def predict_pooled(
    model: Any,
    encoded: Any,
    task: Any,
    processor: Any,
    layers: Sequence[int],
    *,
    batch_size: int = 32,
    precision: torch.dtype | None = None,
    tell: Tell = _silent,
) -> tuple[np.ndarray, np.ndarray]:
    """As ``predict``; and the states of some ``layers``, averaged over tokens: float32 (examples, layers * width).

    Args:
        layers: from 1, 0 is the embeddings.
    """

    def pooled(found: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        mask = batch.get("attention_mask")
        return torch.cat([pool(found.hidden_states[i], mask) for i in layers], dim=1)

    readers = [task.outputs, pooled]
    outputs, states = _passes(model, encoded, task, processor, readers, _HIDDEN, batch_size, precision, tell)
    return outputs, states


_HIDDEN = {"output_hidden_states": True}


def _passes(
    model: Any,
    encoded: Any,
    task: Any,
    processor: Any,
    readers: Sequence[Callable[[Any, Mapping[str, Any]], torch.Tensor]],
    options: Mapping[str, Any],
    batch_size: int,
    precision: torch.dtype | None,
    tell: Tell,
) -> list[np.ndarray]:
    """What each of ``readers`` takes from a model's outputs on each example, called with ``options``."""
    rows, collate = encoded.with_format(None), task.collator(processor, training=False)
    order = np.argsort(lengths(encoded), kind="stable")
    if isinstance(model, nn.Module):
        model.eval()
    parts: list[list[np.ndarray]] = []
    with torch.inference_mode(), _autocast(model, precision):
        for start in range(0, len(order), batch_size):
            batch = collate([rows[int(i)] for i in order[start : start + batch_size]])
            inputs = {name: tensor for name, tensor in batch.items() if name not in task.answers}
            if isinstance(model, nn.Module):
                inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
            found = model(**inputs, **options)
            parts.append([np.asarray(read(found, batch).float().cpu()) for read in readers])
            done = min(start + batch_size, len(order))
            tell(done, len(order), {"examples": done})
    return [_in_order(order, each, batch_size) for each in zip(*parts, strict=True)]


@contextmanager
def _autocast(model: nn.Module, precision: torch.dtype | None) -> Iterator[None]:
    """Has a torch ``model`` compute its products in ``precision``; None leaves them in that of its weights."""
    if precision is None:
        yield
        return
    kind = next(model.parameters()).device.type
    with torch.autocast(kind, dtype=precision), attention_kernels(precision, kind):
        yield


def _in_order(order: np.ndarray, parts: Sequence[np.ndarray], batch_size: int) -> np.ndarray:
    """The rows of ``parts`` (batch, ...), those of the examples in ``order``, by the numbers of the examples."""
    widest = tuple(max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True))
    found = np.zeros((len(order), *widest), dtype=np.float32)
    for start, part in zip(range(0, len(order), batch_size), parts, strict=True):
        for row, values in zip(order[start : start + batch_size], part, strict=True):
            found[(row, *(slice(size) for size in values.shape))] = values
    return found


def time_steps(
    model: nn.Module,
    args: TrainingArguments,
    encoded: Any,
    collator: Callable,
    *,
    steps: int = 3,
    teacher: nn.Module | None = None,
    objective: Objective | None = None,
) -> float:
    """Seconds of one optimizer step of plain fine-tuning, the mean of ``steps`` over an epoch; changes ``model``.

    Products are computed in the precision that ``args`` asks for. With a ``teacher``, its forward pass on the same
    batches counts.
    """
    batch, precision = args.train_batch_size, precision_of(vars(args))
    sizes = lengths(encoded)
    if args.train_sampling_strategy == "group_by_length":
        order = sorted(range(len(sizes)), key=sizes.__getitem__)
    else:
        order = np.random.default_rng(args.seed).permutation(len(sizes)).tolist()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0)
    seconds = []
    for index in range(-1, steps):  # the first one warms up
        start = int((max(index, 0) + 0.5) / steps * max(len(order) - batch, 0))
        inputs = collator([encoded[int(i)] for i in order[start : start + batch]])
        inputs = {name: tensor.to(args.device) for name, tensor in inputs.items()}
        begun = time.perf_counter()
        with _autocast(model, precision):
            task_loss(model.train(), inputs, objective)[0].backward()
            if teacher is not None:
                with torch.no_grad():
                    teacher(**accepted_inputs(teacher, inputs))
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - begun)
    return sum(seconds[1:]) / steps * args.gradient_accumulation_steps
