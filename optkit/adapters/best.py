"""The best model of a training, among those at the target sparsity, by a hold-out of the training split.

Each model that beats all before it is written beside the checkpoints before training goes on, and a checkpoint knows
those from before it. So a run that is killed and resumed chooses what the uninterrupted one chooses.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from optkit.adapters.checkpointing import whole_checkpoints
from optkit.errors import OptkitError


@dataclass(frozen=True)
class Best:
    """The model after ``step`` optimizer steps, and how it did on the hold-out."""

    step: int
    score: float
    loss: float

    def beats(self, other: Best | None) -> bool:
        """A better score, or the same with a lower loss."""
        return other is None or (self.score, -self.loss) > (other.score, -other.loss)


class BestAtTarget(TrainerCallback):
    """Evaluates at the target sparsity only, and ends the training with the best model that it saw.

    Put it behind whatever prunes and whatever marks checkpoints as whole. Evaluation is forced at the last step.

    Args:
        metric: of the evaluation, higher is better.
        at_target: whether the model is at its target sparsity once so many optimizer steps are done.
    """

    def __init__(self, metric: str, at_target: Callable[[int], bool]):
        self.metric, self.at_target = metric, at_target
        self.best: Best | None = None
        self._evaluated = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        found = _find_models(Path(args.output_dir))
        if args.world_size > 1:
            torch.distributed.barrier()  # before the first process removes what others may be looking at
        # Those from after the checkpoint are found again.
        self.best = max((b for b in found if b.step <= state.global_step), key=lambda b: b.step, default=None)
        if args.should_save:
            for later in (b for b in found if b.step > state.global_step):
                _file(Path(args.output_dir), later.step).unlink()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if not self.at_target(state.global_step):
            control.should_evaluate = False
        elif state.global_step >= state.max_steps:
            control.should_evaluate = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        if not self.at_target(state.global_step) or self._evaluated == state.global_step:
            control.should_evaluate = False

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict,
        model: nn.Module,
        **kwargs,
    ) -> None:
        self._evaluated = state.global_step
        candidate = Best(state.global_step, float(metrics[f"eval_{self.metric}"]), float(metrics["eval_loss"]))
        is_finite = math.isfinite(candidate.score) and math.isfinite(candidate.loss)
        if is_finite and self.at_target(candidate.step) and candidate.beats(self.best):
            self.best = candidate
            if args.should_save:
                _write(model, Path(args.output_dir), candidate)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        folder = Path(args.output_dir)
        whole = whole_checkpoints(folder) if args.should_save else []
        if whole:
            oldest = int(whole[0].name.removeprefix("checkpoint-"))
            # Any whole checkpoint may be the one to go on from, and none is older than this.
            for surpassed in sorted(b.step for b in _find_models(folder) if b.step <= oldest)[:-1]:
                _file(folder, surpassed).unlink()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module, **kwargs
    ) -> None:
        if args.world_size > 1:
            torch.distributed.barrier()  # the first process writes
        if self.best is not None and self.best.step != state.global_step:
            _restore(model, _file(Path(args.output_dir), self.best.step))


def _file(folder: Path, step: int) -> Path:
    return folder / f"best-{step}.safetensors"


def _find_models(folder: Path) -> list[Best]:
    """The models in ``folder``, in any order; one that was half written has no name yet."""
    from safetensors import safe_open

    found = []
    for file in folder.glob("best-*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            facts = opened.metadata()
        found.append(Best(int(facts["step"]), float(facts["score"]), float(facts["loss"])))
    return found


def _write(model: nn.Module, folder: Path, best: Best) -> None:
    """Weights and masks of ``model``; what criteria accumulated, and raw weights under masks, have had their day."""
    from safetensors.torch import save_file

    state, tensors, seen = model.state_dict(), {}, set()
    for name, tensor in state.items():
        weight = f"{name.rpartition('.weight_')[0]}.weight"
        # A tied parameter is there under each of its names.
        same = (tensor.data_ptr(), tensor.shape) if tensor.numel() else name
        if same in seen or (f"{weight}_mask" in state and name not in (weight, f"{weight}_mask")):
            continue
        seen.add(same)
        tensors[name] = tensor.detach().cpu().contiguous()
    half = folder / ".best.tmp"
    facts = {"step": str(best.step), "score": repr(best.score), "loss": repr(best.loss)}
    save_file(tensors, half, metadata=facts)
    os.replace(half, _file(folder, best.step))


def _restore(model: nn.Module, file: Path) -> None:
    from safetensors.torch import load_file

    missing, unexpected = model.load_state_dict(load_file(file), strict=False)
    parameters = dict(model.named_parameters())
    lost = [*unexpected, *(name for name in missing if name in parameters)]
    if lost:
        raise OptkitError(f"{file}: not a model of this training, first {lost[0]}: run again with --fresh")
