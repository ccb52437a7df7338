"""Pruning in one shot: all of it where nothing is trained, else what a schedule begins `from`, before the training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from optkit.pruning.config import FisherSearch, Reconstruction, Rule, Schedule, check_occasion
from optkit.pruning.oneshot import needs_loss
from optkit.pruning.oneshot import one_shot as prune_model
from optkit.recipe.schema import OneShotSpec

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pruning.binding import RuleState
    from optkit.recipe import Recipe


def settings(recipe: Recipe) -> OneShotSpec | None:
    """How the model is pruned in one shot; None where it is pruned in training, or not at all."""
    return (recipe.oneshot or OneShotSpec()) if recipe.prune and not recipe.trains else None


def before_training(recipe: Recipe) -> OneShotSpec | None:
    """How the model is pruned in one shot before it is trained; None where it is not."""
    return recipe.oneshot if recipe.prune and recipe.trains else None


def examples(recipe: Recipe) -> OneShotSpec | None:
    """Which examples pruning in one shot goes by, before a training or without one; None where nothing is pruned so."""
    return settings(recipe) or before_training(recipe)


def beginnings(rules: Sequence[Rule]) -> list[Rule]:
    """Rules of one shot that leave a model as sparse as the schedules of ``rules`` begin: heads and neurons by
    `fisher`, all else by `reconstruction`. Rules that begin at 0 have none.
    """
    return [_beginning(rule) for rule in rules if rule.schedule is not None and rule.schedule.initial > 0.0]


def _beginning(rule: Rule) -> Rule:
    first = rule.schedule.initial
    return replace(
        rule,
        criterion=FisherSearch() if rule.structure.spans_layers else Reconstruction(),
        schedule=Schedule("constant", to=first, begin=0),
        shares=tuple((layer, share * first / rule.schedule.to) for layer, share in rule.shares),
        floor=min(rule.floor, first),
        regrow=False,
    )


def problems(context: RunContext) -> list[str]:
    """Why the recipe's rules cannot prune as it says, in training or in one shot, a line each."""
    recipe, found = context.recipe, []
    rules, one_shot = recipe.build_rules(), settings(recipe)
    for index, rule in enumerate(rules):
        try:
            check_occasion(rule.criterion, trains=recipe.trains, regrow=rule.regrow)
        except ValueError as error:
            found.append(f"prune.{index}: {error}")
    if recipe.oneshot is not None and not recipe.prune:
        found.append("oneshot: belongs to a recipe with `prune`: remove it, or write rules")
    elif before_training(recipe) is not None and not beginnings(rules):
        found.append(
            "oneshot: before a training it prunes what a schedule begins `from`, and no rule's begins above 0: write "
            "`schedule.from`, or remove oneshot"
        )
    if one_shot is None:
        return found
    if not recipe.task.label:
        found += [
            f"prune.{index}.criterion: {rule.criterion.name} needs a loss, and there are no labels to have one by: use "
            "magnitude, wanda, reconstruction or fisher, or write task.label"
            for index, rule in enumerate(rules)
            if needs_loss(rule.criterion)
        ]
    return found


def prune(context: RunContext, rules: Sequence[Rule]) -> tuple[Any, list[RuleState]]:
    """The recipe's start model, pruned, and how far each rule went."""
    model = context.student().to("cuda" if torch.cuda.is_available() else "cpu")
    with context.reporter.task("pruning") as bar:
        tell = lambda rule, done, total: bar.advance(done, total, {})  # noqa: E731
        loss = own_loss(context)
        states = prune_model(model, rules, batches(context), loss=loss, on_progress=tell)
    return model.cpu(), states


def own_loss(context: RunContext) -> Any:
    """The task's loss of outputs and batch, None where the model computes one from its labels."""
    return context.task.objective and context.task.objective.loss


def batches(context: RunContext) -> list[dict[str, Any]]:
    """The examples that pruning in one shot goes by."""
    spec = examples(context.recipe)
    return context.data.batches(spec.samples, spec.batch_size, labelled=True)
