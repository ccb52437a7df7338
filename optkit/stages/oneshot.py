"""Pruning in one shot, which the train stage does for a recipe that prunes and does not train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optkit.pipeline.context import Job
    from optkit.pruning.binding import RuleState
    from optkit.pruning.config import Rule


def problems(job: Job) -> list[str]:
    """Why the recipe's rules cannot prune as it says, in training or in one shot, a line each."""
    from optkit.pruning.config import check_occasion
    from optkit.pruning.oneshot import needs_loss

    recipe, found = job.recipe, []
    for index, rule in enumerate(job.rules):
        try:
            check_occasion(rule.criterion, trains=job.trains, regrow=rule.regrow)
        except ValueError as error:
            found.append(f"prune.{index}: {error}")
    if recipe.oneshot is not None and job.one_shot is None:
        found.append("oneshot: belongs to a recipe with `prune` and without `train`: remove it, or train")
    if job.one_shot is None:
        return found
    if not recipe.task.label:
        found += [
            f"prune.{index}.criterion: {rule.criterion.name} needs a loss, and there are no labels to have one by: use "
            "magnitude, wanda, reconstruction or fisher, or write task.label"
            for index, rule in enumerate(job.rules)
            if needs_loss(rule.criterion)
        ]
    return found


def prune(job: Job, rules: Sequence[Rule]) -> tuple[Any, list[RuleState]]:
    """The recipe's start model, pruned, and how far each rule went."""
    import torch

    from optkit.pruning.oneshot import one_shot

    model = job.start_model().to("cuda" if torch.cuda.is_available() else "cpu")
    with job.reporter.task("pruning") as bar:
        tell = lambda rule, done, total: bar.advance(done, total, {})  # noqa: E731
        loss = job.task.objective and job.task.objective.loss
        states = one_shot(model, rules, _batches(job), loss=loss, tell=tell)
    return model.cpu(), states


def _batches(job: Job) -> list[dict[str, Any]]:
    return job.batches(job.one_shot.samples, job.one_shot.batch_size, labelled=True)
