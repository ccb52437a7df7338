"""transformers' TrainingArguments from a recipe's ``train``, and how many steps they make."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from optkit.adapters import quiet, reason
from optkit.adapters.accelerate import shares_cpu
from optkit.adapters.checkpointing import KEPT
from optkit.errors import RecipeError
from optkit.pruning.config import Span
from optkit.ranks import world_size
from optkit.recipe.training_arguments import OURS
from optkit.spelling import suggest

#: What the installed transformers calls otherwise than recipes do, which keep the names of its first releases.
_CURRENT = {
    name: name.replace("gradient_", "activation_")
    for name in ("gradient_checkpointing", "gradient_checkpointing_kwargs")
    if name.replace("gradient_", "activation_") in TrainingArguments.__dataclass_fields__
}


def steps_of(train: Mapping[str, Any], examples: int) -> tuple[int, int]:
    """Optimizer steps of a whole training and of one epoch, as the Trainer counts them with this launch's processes.

    Args:
        train: the recipe's ``train``.
        examples: rows of the training split.
    """
    defaults = {name: field.default for name, field in TrainingArguments.__dataclass_fields__.items()}
    value = lambda name: train.get(name, defaults[name])  # noqa: E731
    batch, accumulated = value("per_device_train_batch_size"), value("gradient_accumulation_steps")
    batches = examples // batch if value("dataloader_drop_last") else math.ceil(examples / batch)
    # Each process takes a batch by turns; a last round that lacks some is filled up, unless it is dropped.
    rounds = batches // world_size() if value("dataloader_drop_last") else math.ceil(batches / world_size())
    per_epoch = max(math.ceil(rounds / accumulated), 1)
    if value("max_steps") > 0:
        return value("max_steps"), per_epoch
    return math.ceil(min(value("num_train_epochs") * per_epoch, sys.maxsize)), per_epoch


def precision_of(train: Mapping[str, Any]) -> torch.dtype | None:
    """The type that a training computes products in by autocast; None for float32.

    Args:
        train: the recipe's ``train``, or all of TrainingArguments by name.
    """
    return torch.bfloat16 if train.get("bf16") else torch.float16 if train.get("fp16") else None


def training_arguments(train: Mapping[str, Any], output: Path, *, seed: int, examples: int) -> TrainingArguments:
    """TrainingArguments for the recipe's ``train``, with what optkit owns filled in.

    Raises:
        RecipeError: if transformers refuses a value, or a tracker of ``report_to`` is unknown or not installed.
    """
    total, per_epoch = steps_of(train, examples)
    resolve = lambda v: max(v.steps(total, per_epoch), 1) if isinstance(v, Span) else v  # noqa: E731
    values = {name: resolve(value) for name, value in train.items() if name not in OURS}
    choosing = {"eval_strategy": "steps", "eval_steps": math.ceil(total / 20), "per_device_eval_batch_size": 32}
    defaults = (choosing if "hold_out" in train else {}) | {
        "report_to": "none",
        "logging_steps": max(1, min(50, total // 20)),
        "save_strategy": "steps",
        "save_steps": max(1, min(500, math.ceil(total / 10))),
        "save_total_limit": KEPT,
        # Without an accelerator transformers takes bf16 for a mistake unless told that the CPU is meant.
        "use_cpu": bool(values.get("bf16")) and not torch.accelerator.is_available(),
    }
    checkpointing = values.get("gradient_checkpointing_kwargs")
    reentrant = isinstance(checkpointing, Mapping) and checkpointing.get("use_reentrant")
    if values.get("gradient_checkpointing") and not reentrant:
        # The Trainer has DDP wait for every parameter then, also for a pooler that no loss uses; only with reentrant
        # checkpoints, which are not the default, could DDP not look for those.
        defaults["ddp_find_unused_parameters"] = True
    values = {_CURRENT.get(name, name): value for name, value in (defaults | values).items()}
    limit = values["save_total_limit"]
    owned = {
        "save_total_limit": limit if limit is None else max(limit, KEPT),
        "output_dir": str(output),
        "seed": seed,
        "disable_tqdm": True,
        "logging_nan_inf_filter": False,
        "remove_unused_columns": False,
        "ddp_broadcast_buffers": False,
        "push_to_hub": False,
    }
    if shares_cpu():  # without it each process would train for itself, whatever the recipe says
        owned["use_cpu"] = True
    try:
        with quiet():
            args = TrainingArguments(**values | owned)
    except Exception as error:  # of transformers, accelerate, and packages that an argument brings in
        raise RecipeError(f"train: transformers refuses these arguments: {reason(error)}") from error
    _check_trackers(args.report_to)
    if args.n_gpu > 1:
        # One process, one GPU: the Trainer would spread batches over all by DataParallel, and count other steps.
        args._n_gpu = 1
    if args.device == torch.device("cpu", 0):
        # So accelerate calls the CPU of several processes; torch.load knows no such place to put an optimizer's state.
        args.__dict__["_setup_devices"] = torch.device("cpu")
    return args


def _check_trackers(names: Sequence[str]) -> None:
    """Refuses now what the Trainer would refuse only when training begins."""
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    there = [*get_available_reporting_integrations(), "flyte"] if names else []  # transformers forgets it
    for name in names:
        if not isinstance(name, str):
            raise RecipeError(f"train.report_to: expected the name of a tracker, got {name!r}")
        if name not in INTEGRATION_TO_CALLBACK:
            known = suggest(name, INTEGRATION_TO_CALLBACK) or f": one of {', '.join(INTEGRATION_TO_CALLBACK)}"
            raise RecipeError(f"train.report_to: unknown tracker '{name}'{known}")
        if name not in there:
            raise RecipeError(f"train.report_to: {name} is not installed: install its package, or leave it out")
