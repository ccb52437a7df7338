"""The dense baseline that a result is compared with, and where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.adapters.hub import model_folder
from optkit.models import load_model, load_teacher
from optkit.recipe import DistillSpec

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext

#: The folder of the run with the baseline that was trained for it.
FOLDER = "dense"


def is_trained_apart(context: RunContext) -> bool:
    """Whether a dense model is trained for the comparison alone."""
    return context.baseline == "trained" and bool(context.recipe.prune)


def load(context: RunContext) -> tuple[Any, Any, list[int] | None] | None:
    """The baseline: its model, its tokenizer, and its output for each of our labels where it may have them in another
    order; None where there is no baseline.

    Raises:
        PlanError: if it has no trained head for these labels.
    """
    if context.baseline is None:
        return None
    if context.baseline == "trained":
        trained = folder(context)
        model = load_model(trained, context.data.head, seed=context.recipe.seed)
        return model, context.task.load_processor(trained), None
    if context.baseline == "start":
        return context.start_model(), context.data.tokenizer, None
    return load_teacher(as_teacher(context), context.data.head, key=recipe_key(context))


def folder(context: RunContext) -> Path | None:
    """Where the baseline's checkpoint lies; None where there is none, or only its config."""
    model = context.recipe.model
    if context.baseline is None:
        return None
    if context.baseline == "trained":
        return context.path(FOLDER if context.recipe.prune else "pruned")
    if context.baseline == "start":
        return model_folder(model.name, model.revision, key="model.name") if model.name else None
    teacher = as_teacher(context)
    return model_folder(teacher.teacher, teacher.revision, key=recipe_key(context))


def recipe_key(context: RunContext) -> str:
    return "distill.teacher" if context.baseline == "teacher" else "evaluate.baseline"


def as_teacher(context: RunContext) -> DistillSpec:
    return context.recipe.distill if context.baseline == "teacher" else DistillSpec(teacher=context.baseline)
