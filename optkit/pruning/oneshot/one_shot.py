"""The rules of a one-shot job on a model, one after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optkit.deprecation import renamed_arguments
from optkit.errors import PruningError
from optkit.pruning.binding import BoundRule, RuleState
from optkit.pruning.config import ONE_SHOT, Criterion, FisherSearch, Reconstruction, Rule, Schedule, check_occasion
from optkit.pruning.criteria import build
from optkit.pruning.masking import lay_out, mask_of, raw_of
from optkit.pruning.oneshot.importance import gradients_of
from optkit.pruning.oneshot.layerwise import Calibration, reconstruct
from optkit.pruning.oneshot.replay import LABELS, Batch, run
from optkit.pruning.oneshot.search import search
from optkit.pruning.pruner import Pruner
from optkit.pruning.schedules import resolve

OnProgress = Callable[[str, int, int], None]
Loss = Callable[[Any, Batch], Tensor]


@renamed_arguments(tell="on_progress")
def one_shot(
    model: nn.Module,
    rules: Rule | Sequence[Rule],
    batches: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    loss: Loss | None = None,
    on_progress: OnProgress = lambda rule, done, total: None,
) -> list[RuleState]:
    """Prunes ``model`` without training it: what stays is exact zeros (0.0) in ordinary weights.

    Rules run in order, and each sees what those before it left. Of a rule's schedule only ``to`` counts.

    Args:
        model: a fine-tuned model; changed in place. It is run in evaluation mode, and left in the mode it was in.
        rules: what to prune, a Rule or several.
        batches: calibration data, a few hundred examples or more, a batch or several: what the model is called with, by
            name, padded tensors with their ``attention_mask``. ``taylor`` and ``obert`` need ``labels`` beside them.
        loss: for a model that computes none from its labels: a scalar of its outputs on a batch, and the batch.
        on_progress: called with the name of the rule at work, the steps of it that are done, and their total.

    Returns:
        the count of groups that each rule pruned.

    Raises:
        PruningError: if a rule cannot be applied to the model or without training, or the batches do not serve. The
            model is then as it was.
    """
    rules = [rules] if isinstance(rules, Rule) else list(rules)
    for rule in rules:
        try:
            check_occasion(rule.criterion, trains=False, regrow=rule.regrow)
        except ValueError as error:
            raise PruningError(f"rule '{rule.name}': {error}") from None
    device = next(model.parameters()).device
    batches = [_on(device, batch) for batch in ([batches] if isinstance(batches, Mapping) else batches)]
    if not batches:
        raise PruningError("there are no calibration batches: pass at least one")
    modes = {module: module.training for module in model.modules()}
    lay_out(model)  # before the copy, so that both compute alike
    dense = copy.deepcopy(model).eval() if any(isinstance(rule.criterion, ONE_SHOT) for rule in rules) else model
    pruner, before = None, []
    try:
        model.eval()
        pruner = Pruner(model, rules)
        layers = {id(layer): layer for bound in pruner.bound for layer in bound.layers.values()}.values()
        before = [(layer, raw_of(layer).detach().clone(), _copy(layer.bias)) for layer in layers]
        calibration = Calibration(model, dense, batches)
        for bound in pruner.bound:
            name = bound.rule.name
            _apply(bound, pruner, calibration, loss, lambda done, total, name=name: on_progress(name, done, total))
        return pruner.fold()
    except BaseException:
        if pruner is not None:
            pruner.remove()
        for layer, weight, bias in before:
            layer.weight.data.copy_(weight)
            if bias is not None:
                layer.bias.data.copy_(bias)
        raise
    finally:
        for module, mode in modes.items():
            module.training = mode


def importance_scores(
    model: nn.Module, rules: Sequence[Rule], batches: Sequence[Mapping[str, Any]], *, loss: Loss | None = None
) -> list[dict[str, Tensor]]:
    """By layer, what each weight (out, in) of ``model`` counts by for each of ``rules``, by itself and before any of
    them has pruned. The model is left as it is.

    Args:
        model, batches, loss: as ``one_shot`` takes them.
        rules: none of a criterion that has no such scores (``reconstruction``, ``fisher``, ``frozen``).

    Raises:
        PruningError: as ``one_shot``.
    """
    device = next(model.parameters()).device
    model = copy.deepcopy(model).eval()
    scores = []
    for rule in rules:
        pruner = Pruner(model, [rule])
        (bound,) = pruner.bound
        if bound.criterion.watches:
            calibration = Calibration(model, model, [_on(device, batch) for batch in batches])
            _watch(bound, pruner, calibration, loss, lambda done, total: None)
        with torch.no_grad():
            scores.append(
                {
                    name: bound.criterion.score(raw_of(layer).detach(), bound.state(mask_of(layer)), index)
                    for index, (name, layer) in enumerate(bound.layers.items())
                }
            )
        pruner.remove()
    return scores


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _on(device: torch.device, batch: Batch) -> Batch:
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def needs_loss(criterion: Criterion) -> bool:
    """Whether a criterion goes by gradients of a loss in one shot, and so needs labels."""
    if isinstance(criterion, ONE_SHOT):
        return False
    return build(criterion).by_gradients


def _apply(
    bound: BoundRule,
    pruner: Pruner,
    calibration: Calibration,
    loss: Loss | None,
    tell: Callable[[int, int], None],
) -> None:
    criterion, schedule = bound.rule.criterion, bound.rule.schedule
    if schedule is None:
        return
    if bound.criterion.watches:
        # Before the schedule is placed: one that is at its end has nothing left to watch for.
        _watch(bound, pruner, calibration, loss, tell)
    bound.steps = resolve(Schedule("constant", to=schedule.to, begin=0), 1, 1.0)
    if isinstance(criterion, Reconstruction):
        reconstruct(bound, calibration, criterion.damping, tell)
    elif isinstance(criterion, FisherSearch):
        search(bound, calibration, criterion.damping, tell)
    else:
        bound.prune(schedule.to)


def _watch(
    bound: BoundRule,
    pruner: Pruner,
    calibration: Calibration,
    loss: Loss | None,
    tell: Callable[[int, int], None],
) -> None:
    """Shows the rule's criterion all batches, the model as earlier rules left it; what it saw before is forgotten."""
    model, batches, layers = calibration.model, calibration.batches, bound.layers.values()
    for layer in layers:
        for name, tensor in bound.criterion.state(raw_of(layer).detach()).items():
            bound.state(mask_of(layer))[name].copy_(tensor)
        layer.training = True  # who watches inputs looks at layers in training; a linear layer does the same in both
    forward_only = not needs_loss(bound.rule.criterion)
    try:
        with torch.no_grad() if forward_only else gradients_of(model, bound.layers):
            for done, batch in enumerate(batches, start=1):
                if forward_only:
                    run(model, batch)
                else:
                    _loss(model, batch, bound.rule, loss).backward()
                    pruner.observe()
                    model.zero_grad(set_to_none=True)
                tell(done, len(batches))
        pruner.check_seen(bound)
    finally:
        for layer in layers:
            layer.training = False


def _loss(model: nn.Module, batch: Batch, rule: Rule, given: Loss | None) -> Tensor:
    loss = None
    if any(name in batch for name in LABELS):
        loss = getattr(model(**batch), "loss", None) if given is None else given(run(model, batch), batch)
    if loss is None:
        raise PruningError(
            f"rule '{rule.name}': {rule.criterion.name} needs a loss, and the model gives none: put `labels` into "
            "every batch"
        )
    return loss
