"""One label, several or a number, for a sentence or a pair of sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa

from optkit.errors import DataError
from optkit.models.config import make_config
from optkit.models.head import Head
from optkit.models.source import Source
from optkit.tasks import classes, numbers
from optkit.tasks.base import Task
from optkit.tasks.text_classification import labels
from optkit.tasks.text_classification.spec import TEXT_CLASSIFICATION

if TYPE_CHECKING:
    from datasets import Dataset

PROBLEMS = TEXT_CLASSIFICATION.problems
SINGLE, MULTI, REGRESSION = PROBLEMS
_UNLABELLED = -100  # as torch's losses know it


class TextClassification(Task):
    """Text classification: of one class, of any number of classes (multi-label), or a score (regression).

    Which of them is what ``task.problem`` says, or what the labels look like: several label columns or a column of
    lists are multi-label, numbers with a fraction are scores, all else are classes. Whole numbers are scores where the
    metric is one of scores, or the start model has one output; with a fraction (3.0) they are refused otherwise.
    """

    type = TEXT_CLASSIFICATION
    keeps_logits = True
    pools_states = True
    label_smoothing = True
    agrees = "predict the same class for"

    def problem(self, splits: Mapping[str, Dataset]) -> str:
        """One of ``PROBLEMS``, transformers' words for what is asked of a sequence classifier.

        Raises:
            DataError: if the labels may be classes as well as scores, and nothing says which.
        """
        if self.spec.problem != "auto":
            return self.spec.problem
        found, problems = labels.problem_of(splits, self.label, self._are_scores)
        if problems:
            raise DataError(problems)
        return found

    def _are_scores(self) -> bool:
        """Whether whole numbers are scores: by the metric, or by a start model that has one output alone."""
        if any(name in PROBLEMS[REGRESSION] for name in self.metrics.names):
            return True
        named = "metric" in self.spec.model_fields_set and bool(self.spec.metric)
        if named or self.model is None or self.model.name is None:
            return False
        config = make_config(Source.of(self.model))
        ending = self.auto_class.removeprefix("AutoModel")
        return config.num_labels == 1 and any(name.endswith(ending) for name in config.architectures or ())

    def head(self, splits: Mapping[str, Dataset]) -> Head:
        """The names of the classes in the order of their ids, and the problem.

        The names come from the training split alone (from the first split where there is no ``train``): the names of a
        ClassLabel; ``LABEL_0`` ... for the integers 0 to n - 1; else the different words, sorted. Of several label
        columns they are the names. A score has one output.

        Raises:
            DataError: if the labels are no classes, or another split has a label that is none of them.
        """
        problem = self.problem(splits)
        wrong = [name for name in self.metrics.names if name not in PROBLEMS[problem]]
        if wrong:
            raise DataError(
                f"task.metric: {wrong[0]} does not measure {problem.replace('_', ' ')}, which column "
                f"'{self.label[0]}' is for: use {' or '.join(PROBLEMS[problem])}, or set task.problem"
            )
        if problem == SINGLE:
            are_classes = self.spec.problem == SINGLE
            found, problems = classes.label_names(splits, self.label[0], are_classes=are_classes)
            check = classes.label_ids
        elif problem == MULTI:
            found, problems = labels.set_names(splits, self.label)
            check = labels.memberships
        else:
            found, problems = ["LABEL_0"], numbers.score_problems(splits, self.label[0])
        column = self.label if problem == MULTI else self.label[0]
        for split, rows in splits.items() if problem != REGRESSION else ():
            if not problems:
                problems += check(split, rows, column, found)[1]
        if problems:
            raise DataError(problems)
        return Head(self.auto_class, found, None if problem == SINGLE else problem)

    def describe(self, splits: Mapping[str, Dataset], head: Head) -> str:
        if head.problem == REGRESSION:
            return numbers.describe_scores(splits, self.label[0])
        line = super().describe(splits, head)
        return line.replace("classes: ", "any number of the classes: ") if head.problem == MULTI else line

    def encode(self, dataset: Dataset, processor: Any, head: Head | None) -> Dataset:
        """Columns input_ids, attention_mask and, if the tokenizer makes them, token_type_ids: lists of at most
        max_length ids; labels: the class id, -100 without labels; for several labels a list of 0.0 and 1.0, one for
        each class; for a score the number.
        """
        if head is None:
            answers = pa.array([_UNLABELLED] * len(dataset), pa.int64())
        else:
            found, kind = self._labels(dataset, head)
            answers = pa.array(found if kind == pa.int64() else list(found), kind)
        table = pa.table(self.tokens(dataset, processor))
        return datasets.Dataset(table.append_column("labels", answers), split=dataset.split)

    def _labels(self, dataset: Dataset, head: Head) -> tuple[Any, Any]:
        """The labels of ``dataset`` and their Arrow type."""
        split = str(dataset.split or "dataset")
        if head.problem is None:
            found, problems = classes.label_ids(split, dataset, self.label[0], head.labels)
            kind = pa.int64()
        elif head.problem == MULTI:
            found, problems = labels.memberships(split, dataset, self.label, head.labels)
            kind = pa.list_(pa.float32())
        else:
            found, problems = numbers.scores(split, dataset, self.label[0])
            kind = pa.float32()
        if problems:
            raise DataError(problems)
        return found, kind

    def decode(self, outputs: np.ndarray, encoded: Dataset, head: Head) -> np.ndarray:
        """Class ids (n,) of logits (n, classes); for several labels 0 or 1 of each, (n, classes); for a score (n,)."""
        if head.problem is None:
            return outputs.argmax(-1)
        return (outputs > 0).astype(np.int64) if head.problem == MULTI else outputs[:, 0]

    def references(self, dataset: Dataset, head: Head) -> np.ndarray:
        found, _ = self._labels(dataset, head)
        return np.asarray(found, np.float32 if head.problem == REGRESSION else np.int64)

    def score(self, predictions: np.ndarray, references: np.ndarray, head: Head) -> dict[str, float]:
        """The recipe's metrics, the headline first, as shares of 1 (correlations: -1 to 1)."""
        return self.metrics.compute(predictions, references, classes=len(head.labels))

    def agreement(self, ours: np.ndarray, theirs: np.ndarray) -> float:
        """The share of examples with the same classes; of scores the share that differs by less than a hundredth of
        their range.
        """
        if ours.dtype.kind == "f":
            return float((np.abs(ours - theirs) <= 0.01 * max(float(np.ptp(theirs)), 1e-12)).mean())
        return super().agreement(ours, theirs)
