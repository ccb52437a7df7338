"""What a model is to do: columns and labels of the data, encoding, and the score. One file for each task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.errors import RecipeError
from optkit.tasks.base import Task
from optkit.tasks.feature_extraction import FeatureExtraction
from optkit.tasks.fill_mask import FillMask
from optkit.tasks.image_classification import ImageClassification
from optkit.tasks.question_answering import QuestionAnswering
from optkit.tasks.text_classification import TextClassification
from optkit.tasks.token_classification import TokenClassification

if TYPE_CHECKING:
    from optkit.recipe.schema import ModelSpec
    from optkit.recipe.task import TaskSpec

TASKS: dict[str, type[Task]] = {
    "feature-extraction": FeatureExtraction,
    "fill-mask": FillMask,
    "image-classification": ImageClassification,
    "question-answering": QuestionAnswering,
    "text-classification": TextClassification,
    "token-classification": TokenClassification,
}


def get_task(task: TaskSpec, model: ModelSpec | None = None) -> Task:
    """The task that the recipe's ``task`` names, for its ``model``.

    Raises:
        RecipeError: for a type that is not built.
    """
    if task.type not in TASKS:
        raise RecipeError(f"task.type: '{task.type}' is not available yet, only {', '.join(TASKS)}")
    return TASKS[task.type](task, model)


__all__ = [
    "TASKS",
    "FeatureExtraction",
    "FillMask",
    "ImageClassification",
    "QuestionAnswering",
    "Task",
    "TextClassification",
    "TokenClassification",
    "get_task",
]
