"""Pruning as a callback of transformers' Trainer: give it to any Trainer, the loop stays the Trainer's own."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from optkit.errors import PruningError
from optkit.pruning.binding import RuleState
from optkit.pruning.config import Rule
from optkit.pruning.former_zeros import loose_zeros
from optkit.pruning.mask_files import FILE, MaskFiles
from optkit.pruning.pruner import Pruner
from optkit.pruning.schedules import Steps

#: What ``TrainerState.stateful_callbacks``, and so a checkpoint, keeps this under.
_STATE = "optkit.pruning"


class PruningCallback(TrainerCallback):
    """Prunes a model while ``transformers.Trainer`` fine-tunes it.

    Pass it in ``Trainer(..., callbacks=[PruningCallback(rules)])``; after training, ``callback.fold()`` turns the masks
    into exact zeros of a plain model. Masks and scores are part of every checkpoint, so ``resume_from_checkpoint``
    continues as if nothing had happened. Trainers of sentence-transformers are no exception: their checkpoints get a
    file with the masks. Schedules stay at the steps where they were placed, even if the training that goes on is longer
    or shorter, which is a warning. Logs gain ``sparsity`` and ``target_sparsity``.

    Where the Trainer keeps the best model or stops early, evaluations before the target sparsity is reached do not
    count: an early, denser model is never taken for the best, and patience begins at the target.

    Args:
        rules: what to prune, a Rule or several; see ``optkit.pruning.config.Rule``.

    Raises:
        PruningError: while the Trainer is built, if a rule cannot be applied to the model, or FSDP or DeepSpeed would
            split its weights; when training begins, if a schedule does not end within it; when masks change, if they
            differ between processes; when training ends, if a target was not reached.
    """

    def __init__(self, rules: Rule | Sequence[Rule]):
        self.rules = [rules] if isinstance(rules, Rule) else list(rules)
        self.pruner: Pruner | None = None
        self._sparsity = 0.0
        self._files: MaskFiles | None = None

    # Masks must be there before a checkpoint is loaded and before the optimizer takes the parameters: both happen
    # between the end of the Trainer's construction and on_train_begin.
    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module, **kwargs: Any
    ) -> None:
        _refuse_splitting()
        self.pruner = Pruner(model, self.rules)
        self.pruner.notes += loose_zeros(model, self.pruner.bound)
        _refuse_replicas(args, self.pruner)
        save_under_own_names(model)
        if not isinstance(model, PreTrainedModel):
            self._files = MaskFiles(self.pruner)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module, **kwargs: Any
    ) -> None:
        self._require_masks()
        if self.pruner.model is not model and self.pruner.model not in list(model.modules()):
            raise PruningError("the Trainer replaced the model after masks were attached: pass model=, not model_init=")
        if self._files is not None and self._files.pending:
            self._files.restore(checkpoint_folder(args, state.global_step))
        per_epoch = steps_per_epoch(args, state, kwargs.get("train_dataloader"))
        placed = self._earlier_placement(state)
        self.pruner.start(state.max_steps, per_epoch, done=state.global_step, placed=placed)
        state.stateful_callbacks[_STATE] = _placement(self.pruner, state.max_steps)
        if state.global_step == 0:
            self.pruner.update(0)
        self._sparsity = self.pruner.sparsity()

    def _earlier_placement(self, state: TrainerState) -> list[Steps | None] | None:
        """Where a training that goes on placed its schedules when it began; warns if it has another length now.

        Raises:
            PruningError: if it is now too short for them.
        """
        saved = state.stateful_callbacks.get(_STATE) if state.global_step else None
        if not saved or len(saved["rules"]) != len(self.rules):
            return None
        found = []
        for rule, (schedule, begin, end, every) in zip(self.rules, saved["rules"], strict=True):
            same = rule.schedule is not None and schedule == str(rule.schedule)
            found.append(Steps(rule.schedule, begin, end, every) if same else None)
        if saved["steps"] != state.max_steps:
            lengths = f"the training began with {saved['steps']} optimizer steps and goes on with {state.max_steps}"
            kept = [(rule.name, steps) for rule, steps in zip(self.rules, found, strict=True) if steps]
            where = ", ".join(f"'{name}' from step {steps.begin} to {steps.end}" for name, steps in kept) or "none"
            if any(steps.end > max(state.max_steps, state.global_step) for _, steps in kept):
                raise PruningError(
                    f"{lengths}, too few for its schedules, {where}: train for longer, or resume with the batch size, "
                    "accumulation and epochs of before"
                )
            warnings.warn(f"{lengths}; schedules stay where they were placed: {where}", stacklevel=2)
        return found

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.pruner.observe(skip_nonfinite=args.fp16)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.pruner.update(state.global_step):
            self._sparsity = self.pruner.sparsity()
        if not self.pruner.at_target(state.global_step - 1):
            # The first evaluation at the target finds nothing to compare with; metrics stay what they are.
            state.best_metric = state.best_global_step = state.best_model_checkpoint = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.pruner is None or not logs or "loss" not in logs:
            return
        extra = {"sparsity": self._sparsity, "target_sparsity": self.pruner.target(state.global_step)}
        logs.update(extra)
        if state.log_history:
            state.log_history[-1].update(extra)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._require_masks()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._files is not None and args.should_save:
            self._files.save(checkpoint_folder(args, state.global_step))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._files is not None and args.load_best_model_at_end and state.best_model_checkpoint:
            self._restore_best(Path(state.best_model_checkpoint))
        if not self.pruner.at_target(state.global_step):
            raise PruningError(
                f"training stopped at step {state.global_step}, before the target sparsity was reached: let it go on, "
                "or end the schedule sooner"
            )
        self.pruner.check_reached()

    def _restore_best(self, folder: Path) -> None:
        if self._files.pending:
            self._files.restore(folder)
        elif (folder / FILE).is_file():
            raise PruningError(f"{folder}: the Trainer could not load it, the best model of this training: see its log")

    def _require_masks(self) -> None:
        if self.pruner is None:
            raise PruningError(
                "PruningCallback came too late: pass it as Trainer(..., callbacks=[...]), not by add_callback"
            )

    def fold(self) -> list[RuleState]:
        """Turns masks into exact zeros and removes all that pruning added to the model; call it once, after training.

        Returns:
            the count of groups that each rule pruned.

        Raises:
            PruningError: if a target was not reached.
        """
        states = self.pruner.fold()
        if self._files is not None:
            self._files.remove()
        return states


def _placement(pruner: Pruner, steps: int) -> dict[str, Any]:
    """Where the schedules of a training of ``steps`` optimizer steps lie: plain JSON types."""
    placed = [
        (str(bound.rule.schedule), s.begin, s.end, s.every) if (s := bound.steps) else ("", 0, 0, 1)
        for bound in pruner.bound
    ]
    return {"steps": steps, "rules": placed}


def checkpoint_folder(args: TrainingArguments, step: int) -> Path:
    """Where the Trainer keeps the checkpoint of an optimizer step."""
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def _refuse_splitting() -> None:
    from accelerate.state import AcceleratorState, DistributedType

    kind = AcceleratorState().distributed_type
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise PruningError(
            f"masks are made of whole weights, which {kind.value} splits over processes: train by DDP, which torchrun "
            "starts by itself"
        )


def _refuse_replicas(args: TrainingArguments, pruner: Pruner) -> None:
    for bound in pruner.bound:
        if args.n_gpu > 1 and (bound.regrows or "inputs" in bound.criterion.watches):
            raise PruningError(
                f"rule '{bound.rule.name}': copies of the model on several GPUs hide what {bound.rule.criterion.name} "
                "watches: start the training with torchrun, a process for each GPU"
            )


def save_under_own_names(model: nn.Module) -> None:
    """Makes ``model`` save its parameters under the names that it uses itself.

    transformers 5 saves a model that was loaded under the names it was loaded from, in BERT's case LayerNorm.gamma and
    .beta, and a Trainer that resumes passes over these without a word.
    """
    if isinstance(model, PreTrainedModel):
        if "save_original_format" in inspect.signature(model.save_pretrained).parameters:
            model.save_pretrained = partial(model.save_pretrained, save_original_format=False)


def steps_per_epoch(args: TrainingArguments, state: TrainerState, dataloader: Sized | None) -> int:
    """Optimizer steps of a whole epoch as the Trainer counts them; a stream without a length is one epoch.

    ``state.num_train_epochs`` is rounded up, so it cannot tell.
    """
    try:
        batches = len(dataloader)
    except TypeError:
        return state.max_steps
    return max(math.ceil(batches / args.gradient_accumulation_steps), 1)
