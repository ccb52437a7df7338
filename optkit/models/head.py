"""What a task asks of the top of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optkit.tasks import TASKS, TaskType


@dataclass(frozen=True)
class Head:
    """The class of model that a task needs, and what its outputs mean.

    Args:
        auto_class: of transformers, such as AutoModelForSequenceClassification.
        labels: the name of each output; None where the outputs are not the data's to name (answers, embeddings).
        problem: what is asked of a classifier of whole inputs beside one class of several: one of
            ``optkit.tasks.PROBLEMS``; None for one class.
        unanswerable: whether there may be questions without an answer.
        candidates: names of the data's classes where they are no outputs but parts of the inputs.
    """

    auto_class: str
    labels: Sequence[str] | None = None
    problem: str | None = None
    unanswerable: bool = False
    candidates: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", self.labels and tuple(self.labels))
        object.__setattr__(self, "candidates", tuple(self.candidates))

    @property
    def task(self) -> str:
        """The ending of the architectures that have such a head: ``ForSequenceClassification``; empty for none."""
        return self.auto_class.removeprefix("AutoModel")

    @property
    def kind(self) -> str:
        """The same for a message: ``SequenceClassification``."""
        return self.task.removeprefix("For")

    @property
    def problem_type(self) -> str | None:
        """transformers' word for what is asked of a classifier of whole inputs; None for other heads."""
        if self.labels is None or not any(task.classes_of == "inputs" for task in self._tasks()):
            return None
        return self.problem or "single_label_classification"

    @property
    def reads_images(self) -> bool:
        """Whether the model's inputs are images."""
        return any(task.reads == "images" for task in self._tasks())

    def _tasks(self) -> list[TaskType]:
        """The tasks that models of this class are for."""
        return [task for task in TASKS.values() if task.auto_class == self.auto_class]
