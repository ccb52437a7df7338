"""The dense baseline that a result is compared with, and where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.adapters.hub import model_folder
from optkit.models import load_model, load_teacher
from optkit.recipe import DistillSpec
from optkit.recipe.resolved import NO_MODEL

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.recipe import Recipe

#: The folder of the run with the baseline that was trained for it.
FOLDER = "dense"


def kind(context: RunContext) -> str | None:
    """What the result is compared with: ``start``, ``teacher``, ``trained``, a checkpoint's name, or None."""
    recipe = context.recipe
    wanted = recipe.evaluate.baseline
    if wanted != "auto":
        return None if wanted == "none" else wanted
    # What is not trained here is taken for trained.
    if context.data.start_head is not None and (not recipe.trains or context.task.is_trained(recipe.model)):
        return "start"
    return "teacher" if recipe.distill is not None else "trained"


def named_checkpoint(recipe: Recipe) -> str | None:
    """The checkpoint that ``evaluate.baseline`` names, if it names one."""
    wanted = recipe.evaluate.baseline
    return None if wanted in NO_MODEL else wanted


def is_trained_apart(context: RunContext) -> bool:
    """Whether a dense model is trained for the comparison alone."""
    return kind(context) == "trained" and bool(context.recipe.prune)


def load(context: RunContext) -> tuple[Any, Any, list[int] | None] | None:
    """The baseline: its model, its tokenizer, and its output for each of our labels where it may have them in another
    order; None where there is no baseline.

    Raises:
        PlanError: if it has no trained head for these labels.
    """
    wanted = kind(context)
    if wanted is None:
        return None
    if wanted == "trained":
        trained = folder(context)
        model = load_model(trained, context.data.head, seed=context.recipe.seed)
        return model, context.task.load_processor(trained), None
    if wanted == "start":
        return context.start_model(), context.data.tokenizer, None
    return load_teacher(as_teacher(context), context.data.head, key=recipe_key(context))


def folder(context: RunContext) -> Path | None:
    """Where the baseline's checkpoint lies; None where there is none, or only its config."""
    model, wanted = context.recipe.model, kind(context)
    if wanted is None:
        return None
    if wanted == "trained":
        return context.path(FOLDER if context.recipe.prune else "pruned")
    if wanted == "start":
        return model_folder(model.name, model.revision, key="model.name") if model.name else None
    teacher = as_teacher(context)
    return model_folder(teacher.teacher, teacher.revision, key=recipe_key(context))


def recipe_key(context: RunContext) -> str:
    return "distill.teacher" if kind(context) == "teacher" else "evaluate.baseline"


def as_teacher(context: RunContext) -> DistillSpec:
    wanted = kind(context)
    return context.recipe.distill if wanted == "teacher" else DistillSpec(teacher=wanted)
