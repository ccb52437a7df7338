"""Checkpoints of transformers' Trainer, of which only whole ones count."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from optkit.checkpoints.markers import MARKER, whole_checkpoints
from optkit.errors import OptkitError

#: Two, so that one whole checkpoint is there while the next is written.
KEPT = 2


class WholeCheckpoints(TrainerCallback):
    """Marks a checkpoint once its last byte is written, saves at the last step, and never marks a model with NaN.

    The Trainer writes checkpoints in place, and rotation deletes them file by file; the marker lists every file with
    its size, so that neither a half-written nor a half-deleted one is taken for whole.
    """

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if state.global_step >= state.max_steps:
            control.should_save = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict, **kwargs
    ) -> None:
        if not math.isfinite(logs.get("loss", 0.0)):
            raise _divergence_error(state.global_step)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module, **kwargs
    ) -> None:
        # Here and not before the save: whether one comes is known only after every other callback has spoken.
        if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
            raise _divergence_error(state.global_step)
        if args.world_size > 1:  # each process writes its random states
            torch.distributed.barrier()
        if not args.should_save:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        sizes = {p.name: p.stat().st_size for p in sorted(folder.iterdir()) if p.is_file() and p.name != MARKER}
        (folder / MARKER).write_text(json.dumps(sizes), encoding="utf-8")


def _divergence_error(step: int) -> OptkitError:
    return OptkitError(
        f"the loss is NaN or infinite at step {step}: lower train.learning_rate, or add warmup_steps; checkpoints from "
        "before are kept"
    )


def resumable(checkpoints: Path) -> Path | None:
    """The newest whole checkpoint, None without one; those that are not whole are removed."""
    whole = whole_checkpoints(checkpoints)
    for folder in checkpoints.glob("checkpoint-*"):
        if folder not in whole:
            shutil.rmtree(folder)
    return whole[-1] if whole else None
