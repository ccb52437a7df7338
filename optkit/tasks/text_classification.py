"""One label for a sentence or a pair of sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optkit.errors import DataError
from optkit.tasks.columns import find_columns, label_ids, label_names, text_problems

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from optkit.recipe.schema import TaskSpec

_BATCH = 2000
_UNLABELLED = -100  # as torch's losses know it


class TextClassification:
    """Text classification as the recipe's ``task`` describes it.

    Args:
        task: names the text columns (one, or two for pairs), the label column, the metrics and the longest input.
    """

    auto_class = "AutoModelForSequenceClassification"
    ov_class = "OVModelForSequenceClassification"
    export_task = "text-classification"

    def __init__(self, task: TaskSpec):
        from optkit import metrics

        self.text = (task.text,) if isinstance(task.text, str) else tuple(task.text)
        self.label = task.label
        self.max_length = task.max_length
        self.metrics = metrics.load(task.metric)

    @property
    def columns(self) -> tuple[str, ...]:
        """The text columns, then the label column."""
        return (*self.text, self.label)

    def check(self, splits: Mapping[str, Dataset]) -> None:
        """Looks at every example before any work is done.

        Raises:
            DataError: all faults at once, a line each: columns that are not there, splits without rows, missing texts
                and labels, labels that are no class.
        """
        problems = find_columns(splits, self.text, self.label)
        if not problems:
            for name, rows in splits.items():
                problems += text_problems(name, rows, self.text)
            try:
                self.labels(splits)
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)

    def labels(self, splits: Mapping[str, Dataset]) -> list[str]:
        """The names of the classes, in the order of their ids.

        They come from the training split alone (from the first split where there is no ``train``): the names of a
        ClassLabel; ``LABEL_0`` ... for the integers 0 to n - 1; else the different words, sorted.

        Raises:
            DataError: if the labels are no classes, or another split has a label that is none of them.
        """
        names, problems = label_names(splits, self.label)
        for split, rows in splits.items():
            if not problems:
                problems += label_ids(split, rows, self.label, names)[1]
        if problems:
            raise DataError(problems)
        return names

    def encode(self, dataset: Dataset, tokenizer: Any, labels: Sequence[str] | None) -> Dataset:
        """Token ids and labels of each example, in order, in memory.

        Args:
            dataset: one split, with this task's columns.
            tokenizer: a Hugging Face tokenizer.
            labels: the class names that ``labels`` gave; None for a split without labels.

        Returns:
            Columns input_ids, attention_mask and, if the tokenizer makes them, token_type_ids: lists of at most
            max_length ids, not padded; labels: the class id, -100 without labels.

        Raises:
            DataError: for a label that is no class.
        """
        import datasets
        import pyarrow as pa

        ids, problems = [_UNLABELLED] * len(dataset), []
        if labels is not None:
            ids, problems = label_ids(str(dataset.split or "dataset"), dataset, self.label, labels)
        if problems:
            raise DataError(problems)
        longest = min(self.max_length, tokenizer.model_max_length)
        batches: dict[str, list[pa.Array]] = {}
        for start in range(0, len(dataset), _BATCH):
            rows = dataset[start : start + _BATCH]
            texts = [[str(text) for text in rows[column]] for column in self.text]
            encoded = tokenizer(*texts, truncation=True, max_length=longest)
            for column, lists in encoded.items():
                batches.setdefault(column, []).append(pa.array(lists, pa.list_(pa.int32())))
        table = pa.table({column: pa.chunked_array(arrays) for column, arrays in batches.items()})
        return datasets.Dataset(table.append_column("labels", pa.array(ids, pa.int64())), split=dataset.split)

    def collator(self, tokenizer: Any) -> Any:
        """Pads a batch of encoded examples to its longest one and makes tensors of it, shape (batch, longest)."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(tokenizer)

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """The class ids, shape (n,), that ``logits`` of shape (n, classes) mean."""
        return logits.argmax(-1)

    def score(self, predictions: np.ndarray, references: np.ndarray, classes: int | None = None) -> dict[str, float]:
        """The recipe's metrics, the headline first, as shares of 1 (matthews_correlation: -1 to 1).

        Args:
            predictions, references: class ids, shape (n,).
            classes: how many there are, which f1 needs; None takes the highest id seen as the last class.
        """
        return self.metrics.compute(predictions, references, classes=classes)
