"""What a model is to do: columns and labels of the data, encoding, and the score. One folder for each task.

``TASKS`` is the only list of them. A folder holds spec.py, all that the rest of optkit knows of a task, and task.py,
what the task does; both stand apart so that a recipe is read without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.errors import RecipeError
from optkit.tasks.feature_extraction.spec import FEATURE_EXTRACTION
from optkit.tasks.fill_mask.spec import FILL_MASK
from optkit.tasks.image_classification.spec import IMAGE_CLASSIFICATION
from optkit.tasks.question_answering.spec import QUESTION_ANSWERING
from optkit.tasks.spec import Call, TaskType
from optkit.tasks.text_classification.spec import TEXT_CLASSIFICATION
from optkit.tasks.text_ranking.spec import TEXT_RANKING
from optkit.tasks.token_classification.spec import TOKEN_CLASSIFICATION
from optkit.tasks.zero_shot_classification.spec import ZERO_SHOT_CLASSIFICATION

if TYPE_CHECKING:
    from optkit.recipe.schema import ModelSpec
    from optkit.recipe.task import TaskSpec
    from optkit.tasks.base import Task

#: Every task by its name, in the order in which they are listed.
TASKS: dict[str, TaskType] = {
    task.name: task
    for task in (
        TEXT_CLASSIFICATION,
        TOKEN_CLASSIFICATION,
        QUESTION_ANSWERING,
        FEATURE_EXTRACTION,
        TEXT_RANKING,
        ZERO_SHOT_CLASSIFICATION,
        IMAGE_CLASSIFICATION,
        FILL_MASK,
    )
}
#: What may be asked of a model, where a task has several problems: transformers' ``problem_type``.
PROBLEMS = tuple(dict.fromkeys(problem for task in TASKS.values() for problem in task.problems))


def get_task(task: TaskSpec, model: ModelSpec | None = None) -> Task:
    """The task that the recipe's ``task`` names, for its ``model``.

    Raises:
        RecipeError: for a type that is not built.
    """
    if task.type not in TASKS:
        raise RecipeError(f"task.type: '{task.type}' is not available yet, only {', '.join(TASKS)}")
    return TASKS[task.type].load()(task, model)


__all__ = ["PROBLEMS", "TASKS", "Call", "TaskType", "get_task"]
