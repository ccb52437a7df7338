"""What a model is to do: columns and labels of the data, encoding, and the score. One file for each task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.errors import RecipeError
from optkit.tasks.text_classification import TextClassification

if TYPE_CHECKING:
    from optkit.recipe.schema import TaskSpec

TASKS = {"text-classification": TextClassification}


def get_task(task: TaskSpec) -> TextClassification:
    """The task that the recipe's ``task`` names.

    Raises:
        RecipeError: for a type that is not built.
    """
    if task.type not in TASKS:
        raise RecipeError(f"task.type: '{task.type}' is not available yet, only {', '.join(TASKS)}")
    return TASKS[task.type](task)


__all__ = ["TASKS", "TextClassification", "get_task"]
