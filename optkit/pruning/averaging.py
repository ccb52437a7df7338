"""The mean of a model's weights over the last steps of a training, in the place of the weights of the last step.

Izmailov et al. 2018, https://arxiv.org/abs/1803.05407: the mean of points on the way of SGD lies in a flatter place
than each of them. The mean is taken over every optimizer step, so that short trainings gain as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from optkit.errors import PruningError
from optkit.pruning.callback import checkpoint_folder, steps_per_epoch
from optkit.pruning.config import Span

#: The file in a checkpoint that holds the mean so far, under the parameters' names; its metadata the number of steps.
FILE = "optkit-average.safetensors"


class WeightAverage(TrainerCallback):
    """Ends a training with the mean of the weights after each of its last optimizer steps.

    Pass it in ``Trainer(..., callbacks=[PruningCallback(rules), WeightAverage("10%")])``, behind the PruningCallback
    and before whatever marks checkpoints as complete. Only parameters that are trained have a mean. Masks stay as they
    are in the end: let schedules end before the mean begins, or it holds weights from before they were pruned. The mean
    so far is part of every checkpoint in ``output_dir``, so a resumed training ends with the same bytes.

    Args:
        last: over which part of the training, ``10%``, a number of steps, or ``1ep``; at least one step.

    Raises:
        ValueError: if ``last`` is no span.
        PruningError: when training begins, if the Trainer is to load the best model in the end, or goes on from a
            checkpoint that lacks the mean.
    """

    def __init__(self, last: Span | str | int | float):
        self.last = Span.parse(last)
        #: Optimizer steps that the mean is taken over so far.
        self.steps = 0
        self._begin = 0
        self._parameters: dict[str, nn.Parameter] = {}
        self._means: dict[str, Tensor] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module, **kwargs: Any
    ) -> None:
        if args.load_best_model_at_end:
            raise PruningError("the mean of the weights would replace the best model: turn load_best_model_at_end off")
        per_epoch = steps_per_epoch(args, state, kwargs.get("train_dataloader"))
        self._begin = average_begin(self.last, state.max_steps, per_epoch)
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._means, self.steps = {}, 0
        if state.global_step > self._begin:
            self._load(checkpoint_folder(args, state.global_step) / FILE)

    @torch.no_grad()
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step <= self._begin:
            return
        self.steps += 1
        for name, parameter in self._parameters.items():
            if name not in self._means:
                self._means[name] = torch.zeros_like(parameter, dtype=torch.float32)
            self._means[name].lerp_(parameter.float(), 1.0 / self.steps)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        from safetensors.torch import save_file

        file = checkpoint_folder(args, state.global_step) / FILE
        if self._means and args.should_save and file.parent.is_dir():
            tensors = {name: mean.cpu().contiguous() for name, mean in self._means.items()}
            save_file(tensors, file, metadata={"steps": str(self.steps)})

    @torch.no_grad()
    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for name, mean in self._means.items():
            self._parameters[name].copy_(mean)

    def _load(self, file: Path) -> None:
        from safetensors import safe_open

        if not file.is_file():
            raise PruningError(
                f"{file}: not found, and the mean of the weights goes on from it: resume from a checkpoint of this "
                "training where it was written, in output_dir"
            )
        with safe_open(file, framework="pt") as opened:
            self.steps = int(opened.metadata()["steps"])
            saved = {name: opened.get_tensor(name) for name in opened.keys()}
        for name, parameter in self._parameters.items():
            if name not in saved or saved[name].shape != parameter.shape:
                raise PruningError(f"{file}: not the mean of this training, first {name}: start it anew")
            self._means[name] = saved[name].to(parameter.device)


def average_begin(last: Span, total: int, per_epoch: float) -> int:
    """The optimizer step after which the mean over the ``last`` part of ``total`` steps begins."""
    return max(total - max(last.steps(total, per_epoch), 1), 0)
