"""The dense baseline that a result is compared with, and where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.adapters.hub import model_folder
from optkit.models import load_model, load_teacher
from optkit.recipe import TeacherSpec
from optkit.recipe.resolved import NO_MODEL

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.recipe import Recipe

#: The folder of the run with the baseline that was trained for it.
FOLDER = "dense"


def kind(context: RunContext) -> str | None:
    """What the result is compared with: ``start``, ``teacher``, ``trained``, a checkpoint's name, or None."""
    recipe = context.recipe
    setting = recipe.evaluate.baseline
    if setting != "auto":
        return None if setting == "none" else setting
    # What is not trained here is taken for trained.
    if context.data.start_head is not None and (not recipe.trains or context.task.is_trained(recipe.model)):
        return "start"
    return "teacher" if recipe.distill is not None else "trained"


def named_checkpoint(recipe: Recipe) -> str | None:
    """The checkpoint that ``evaluate.baseline`` names, if it names one."""
    setting = recipe.evaluate.baseline
    return None if setting in NO_MODEL else setting


def is_trained_apart(context: RunContext) -> bool:
    """Whether a dense model is trained for the comparison alone."""
    return kind(context) == "trained" and bool(context.recipe.prune)


def load(context: RunContext) -> tuple[Any, Any, list[int] | None] | None:
    """The baseline: its model, its tokenizer, and its output for each of our labels where it may have them in another
    order; None where there is no baseline.

    Raises:
        PlanError: if it has no trained head for these labels.
    """
    which = kind(context)
    if which is None:
        return None
    if which == "trained":
        trained = folder(context)
        model = load_model(trained, context.data.head, seed=context.recipe.seed)
        return model, context.task.load_processor(trained), None
    if which == "start":
        return context.start_model(), context.data.tokenizer, None
    return load_teacher(as_teacher(context), context.data.head, key=recipe_key(context))


def folder(context: RunContext) -> Path | None:
    """Where the baseline's checkpoint lies; None where there is none, or only its config."""
    model, which = context.recipe.model, kind(context)
    if which is None:
        return None
    if which == "trained":
        return context.path(FOLDER if context.recipe.prune else "pruned")
    if which == "start":
        return model_folder(model.name, model.revision, key="model.name") if model.name else None
    teacher = as_teacher(context)
    return model_folder(teacher.name, teacher.revision, key=recipe_key(context))


def recipe_key(context: RunContext) -> str:
    return context.recipe.distill.first[0] if kind(context) == "teacher" else "evaluate.baseline"


def as_teacher(context: RunContext) -> TeacherSpec:
    """The baseline in the form that teachers have; of several teachers the first."""
    which = kind(context)
    return context.recipe.distill.first[1] if which == "teacher" else TeacherSpec(name=which)
