"""What of ``train`` cannot work, found in the plan: by rules, and by one step of a training on a small stand-in."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from optkit.adapters import dry_run, quiet, reason
from optkit.adapters.arguments import steps_of, training_arguments
from optkit.errors import OptkitError
from optkit.ranks import world_size

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext

#: Examples of the stand-in's training; two make a batch, which losses of pairs need.
_ROWS, _BATCH = 4, 2
#: What the stand-in trains with instead: nothing is kept, told to trackers, or waited for.
_SMALL = {
    "per_device_train_batch_size": _BATCH,
    "per_device_eval_batch_size": _BATCH,
    "gradient_accumulation_steps": 1,
    "dataloader_drop_last": False,
    "report_to": "none",
    "eval_delay": 0,
}


def problems(context: RunContext, model: Any, examples: int) -> list[str]:
    """Why the recipe's training would not start, if it would not: a line.

    Args:
        model: the student on the meta device, which nothing else is wrong with.
        examples: rows that it trains on.
    """
    # Processes would wait for each other in a step that one of them does.
    if not context.recipe.trains or context.team.size > 1:
        return []
    failure = _failure(context, model, context.recipe.train, examples)
    # What an OptkitError says is told where the arguments, or the data, are looked at.
    if failure is None or isinstance(failure, OptkitError):
        return []
    return [_explain(context, model, context.recipe.train, examples, failure)]


def unused_arguments(context: RunContext, examples: int) -> list[str]:
    """Arguments that would do nothing, or something else than they say, a line each."""
    train, task, found = context.recipe.train, context.task, []
    if train.get("label_smoothing_factor"):
        factor = train["label_smoothing_factor"]
        kind = context.data.head.problem or context.recipe.task.type
        if not task.label_smoothing or context.data.head.problem is not None:
            found.append(
                f"train.label_smoothing_factor: {kind.replace('_', ' ')} has no classes that exclude each other to "
                "smooth: remove it"
            )
        elif not 0 < factor < 1:
            found.append(f"train.label_smoothing_factor: expected a share from 0 to below 1, got {factor:g}")
    if train.get("fp16") and (train.get("use_cpu") or not torch.accelerator.is_available()):
        found.append("train.fp16: a CPU trains in fp32 with it: set bf16: true, or remove it")
    compiled = train.get("torch_compile") and train.get("torch_compile_backend", "inductor") == "inductor"
    if compiled and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        found.append("train.torch_compile: needs a C++ compiler, and none is found: install g++, or remove it")
    batch = train.get("per_device_train_batch_size", 8) * world_size()
    if train.get("dataloader_drop_last") and examples < batch:
        found.append(
            f"train.dataloader_drop_last: {examples} training examples make no whole batch of {batch}: remove it"
        )
    return found


def _failure(context: RunContext, model: Any, train: Mapping[str, Any], examples: int) -> Exception | None:
    """What a training with ``train`` raises at its first step."""
    total, _ = steps_of(train, examples)
    arguments = {name: value for name, value in train.items() if name != "freeze"} | _SMALL | {"max_steps": total}
    arguments.pop("torch_compile", None)  # takes a minute
    rows = context.data.splits["train"]
    try:
        encoded = context.task.encode(
            rows.select(range(min(_ROWS, len(rows)))), context.data.tokenizer, context.data.head
        )
        with tempfile.TemporaryDirectory(prefix="optkit-dry-run-") as folder, quiet():
            args = training_arguments(arguments, Path(folder), seed=context.recipe.seed, examples=examples)
            evaluates = args.eval_strategy != "no"
            options = {"evaluates": evaluates, "scores": evaluates and "hold_out" in train}
            dry_run.first_step(model, args, encoded, context.task, context.data.tokenizer, **options)
    except Exception as error:  # the Trainer's, and of any package that an argument brings in
        return error
    return None


def _explain(context: RunContext, model: Any, train: Mapping[str, Any], examples: int, failure: Exception) -> str:
    """The line for a training that failed: with the argument by which it does, where one alone is the reason."""
    cause = _reason(failure)
    for name, value in train.items():
        others = {key: own for key, own in train.items() if key != name}
        if _failure(context, model, others, examples) is None:
            return f"train.{name}: the training cannot start with {value}: {cause}: correct it, or remove it"
    return f"train: the training cannot start with these arguments: {cause}"


def _reason(failure: Exception) -> str:
    text = str(failure)
    if isinstance(failure, TypeError) and (needs := re.search(r"missing \d+ required .*arguments?: (.+)", text)):
        return f"it needs {needs[1]}, which belongs into lr_scheduler_kwargs or optim_args"
    if isinstance(failure, TypeError) and (unknown := re.search(r"unexpected keyword argument '(\w+)'", text)):
        return f"it takes no '{unknown[1]}'"
    return reason(failure).rstrip(".:")
