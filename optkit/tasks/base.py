"""The interface of a task: columns of the data, the model's head, encoding and collation, decoding and scoring.

A task knows nothing of runs or of engines. Stages ask it for a head, for encoded examples and for a collator; they run
a model, keep what ``outputs`` returns for each batch, and have it decoded and scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from transformers import DataCollatorWithPadding

from optkit import metrics
from optkit.errors import DataError, PlanError
from optkit.models import load_tokenizer
from optkit.tasks.columns import find_columns, text_problems

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from optkit.models import Head
    from optkit.recipe import DistillSpec, Recipe
    from optkit.recipe.schema import ModelSpec
    from optkit.recipe.task import TaskSpec
    from optkit.tasks.spec import TaskType

_BATCH = 2000
#: A column of encoded examples that begins like this is for the task's own use, and no batch holds it.
PRIVATE = "_"


class Task:
    """A task as the recipe's ``task`` describes it. A subclass implements the methods that raise NotImplementedError.

    Args:
        task: names the columns, the metrics and the longest input.
        model: the recipe's, for a task that reads from it how outputs are used.

    Attributes:
        type: what is known of the task without its data: names, classes of models, metrics.
        answers: columns of encoded examples that are no input of the model.
        keeps_logits: whether a teacher's logits have one row an example, so that they can be kept with the data.
        pools_states: whether a teacher's states of an example, averaged over its tokens, can be kept with the data.
        unlabelled: whether examples without an answer may be taught by a teacher beside those with one.
        windows: whether a row may become several examples, as one that is longer than the longest input.
        names_outputs: whether the data's labels are what the outputs of the head mean.
        label_smoothing: whether the loss of classes knows label smoothing.
        agrees: what ``agreement`` is the share of, for a report: "predict the same class for".
        files: columns that may hold names of files, relative to the data file that they are in.
        objective: the loss, where it is not the model's own, see ``adapters.trainer.Objective``.
    """

    type: TaskType
    answers: tuple[str, ...] = ("labels",)
    keeps_logits = False
    pools_states = False
    unlabelled = True
    windows = False
    names_outputs = True
    label_smoothing = False
    agrees = "predict the same for"
    files: tuple[str, ...] = ()
    objective: Any = None

    def __init__(self, task: TaskSpec, model: ModelSpec | None = None):
        self.spec, self.model = task, model
        self.text, self.label = tuple(task.text), tuple(task.label)
        self.max_length = task.max_length
        self.metrics = metrics.load(task.metric)

    @property
    def auto_class(self) -> str:
        """The model's class in transformers."""
        return self.type.auto_class

    @property
    def ov_class(self) -> str:
        """The model's class in optimum-intel."""
        return self.type.ov_class

    @property
    def export_task(self) -> str:
        """optimum's name of the task."""
        return self.type.export_task

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that examples are made of, then those with the answers."""
        return tuple(column for columns in self.keys.values() for column in columns)

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """The same by the key of ``task`` that names them."""
        return {"text": self.text, "label": self.label}

    def load_processor(self, model: ModelSpec | str | Path, rows: Dataset | None = None) -> Any:
        """Loads the processor, which turns the columns into a model's inputs: its tokenizer.

        Args:
            model: the recipe's model, or a checkpoint folder.
            rows: the training split, for a tokenizer that is trained on its texts.
        """
        return load_tokenizer(model, None if rows is None else self.texts(rows))

    def groups(self, rows: Dataset) -> np.ndarray | None:
        """A number for each row, equal for rows that are measured together and so stay together where some are set
        aside; None where each row stands for itself.
        """
        return None

    def texts(self, rows: Dataset) -> Iterator[str]:
        """The texts that a tokenizer is trained on."""
        return (str(text) for column in self.text for text in rows[column])

    def columns_of_texts(self, rows: Mapping[str, Any] | Dataset) -> list[list[str]]:
        """What a tokenizer is given of ``rows``: one column of texts, or two that it joins to pairs."""
        columns = self.text if self.type.joins_texts else self.text[:1]
        return [[" ".join(text) if isinstance(text, list) else str(text) for text in rows[name]] for name in columns]

    def check(self, splits: Mapping[str, Dataset]) -> None:
        """Checks every example before any work is done.

        Raises:
            DataError: all faults at once, a line each: columns that are not there, splits without rows, missing texts
                and labels, labels that are no class.
        """
        problems = find_columns(splits, **self.keys)
        if not problems:
            for name, rows in splits.items():
                problems += self.input_problems(name, rows)
            try:
                self.head(splits)
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)

    def input_problems(self, split: str, rows: Dataset) -> list[str]:
        """Faults of the columns that examples are made of, a line each."""
        return text_problems(split, rows, self.text)

    def head(self, splits: Mapping[str, Dataset]) -> Head:
        """What the task asks of a model on this data.

        Raises:
            DataError: if the labels do not fit the task, in whichever split.
        """
        raise NotImplementedError

    def describe(self, splits: Mapping[str, Dataset], head: Head) -> str:
        """A line for the plan on how the labels are read: the names of the classes; empty where there are none."""
        return f"classes: {', '.join(head.labels)}" if head.labels else ""

    def label_mismatches(self, head: Head) -> list[str]:
        """Why the labels do not fit the recipe's metrics, a line each."""
        return []

    def problems(self, recipe: Recipe) -> list[str]:
        """Why the recipe cannot do this task, as far as that shows without data, a line each."""
        return []

    def model_problems(self, model: Any, processor: Any) -> list[str]:
        """Why a model (on the meta device) cannot take what the processor makes, a line each."""
        return []

    def teacher_problems(self, distill: DistillSpec, key: str, teacher: Any, student: Any) -> list[str]:
        """Why a student (its config) cannot learn this task from a teacher (a model), a line each.

        Args:
            key: the recipe's for the teacher, one of ``distill.teachers``.
        """
        return []

    def is_trained(self, model: ModelSpec) -> bool:
        """Whether a named model that has such a head was trained for such a task."""
        return True

    def encode(self, dataset: Dataset, processor: Any, head: Head | None) -> Dataset:
        """The model's inputs for each example, in order, in memory, not padded; and its answers.

        Args:
            dataset: one split, with this task's columns.
            processor: see ``load_processor``.
            head: what ``head`` gave; None for a split without labels.

        Raises:
            DataError: for a label that does not fit.
        """
        raise NotImplementedError

    def longest(self, processor: Any) -> int:
        """Tokens at which an input is cut."""
        return min(self.max_length, processor.model_max_length)

    def length(self, example: Mapping[str, Any]) -> int:
        """Tokens of an encoded example."""
        return len(example["input_ids"])

    def samples(self, example: Mapping[str, Any], processor: Any) -> list[Mapping[str, Any]]:
        """The model's inputs that an encoded example holds, one at a time."""
        return [example]

    def collator(self, processor: Any, *, training: bool = True) -> Callable[[Sequence[Mapping[str, Any]]], Any]:
        """Makes a batch of encoded examples, padded to its longest: tensors by name.

        Args:
            training: whether what is drawn by chance may differ from batch to batch; else a batch is always the same.
        """
        return without_private_columns(DataCollatorWithPadding(processor))

    def same_inputs(self, rows: Dataset, ours: Any, theirs: Any) -> bool:
        """Whether two processors make the same inputs of ``rows``, so that one batch serves both models."""
        if ours.get_vocab() != theirs.get_vocab():
            return False
        return self.encode(rows, ours, None)["input_ids"][:] == self.encode(rows, theirs, None)["input_ids"][:]

    def outputs(self, found: Any, batch: Mapping[str, Any]) -> Tensor:
        """What is kept of a model's output on ``batch``, float (batch, ...): the logits."""
        return found.logits

    def postprocess(self, predictions: Any) -> np.ndarray:
        """The ``outputs`` of a whole data set as one array (examples, ...), from what the Trainer returns for it."""
        return np.asarray(predictions)

    def decode(self, outputs: np.ndarray, encoded: Dataset, head: Head) -> Any:
        """The predictions that ``outputs`` (examples, ...) stand for, in a form that no tokenizer decides."""
        raise NotImplementedError

    def references(self, dataset: Dataset, head: Head) -> Any:
        """The right answers, in the form of ``decode``."""
        raise NotImplementedError

    def score(self, predictions: Any, references: Any, head: Head) -> dict[str, float]:
        """The recipe's metrics, the headline first; higher is better in each."""
        raise NotImplementedError

    def agreement(self, ours: Any, theirs: Any) -> float:
        """How far two models' predictions are the same, 1 when they are: the share of equal ones."""
        return float(np.mean([np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)]))

    def save_extra_files(self, folder: Path, model: Any, processor: Any) -> None:
        """Adds files to a checkpoint that was just saved, which other libraries look for."""

    def sequence(self, processor: Any, length: int) -> int:
        """Tokens of an input of ``length`` tokens that a model reads: fewer where the tokenizer takes fewer."""
        return min(length, processor.model_max_length)

    def dummy_inputs(self, processor: Any, batch: int, length: int, seed: int) -> dict[str, Tensor]:
        """Random inputs to time models with: (batch, length) tokens, fewer where the tokenizer takes fewer."""
        generator, length = torch.Generator().manual_seed(seed), self.sequence(processor, length)
        ids = torch.randint(5, len(processor), (batch, length), generator=generator)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if "token_type_ids" in processor.model_input_names:
            inputs["token_type_ids"] = torch.zeros_like(ids)
        return inputs

    def tokens(
        self, dataset: Dataset, tokenizer: Any, *, columns: Sequence[str] = (), before: str = "", **options: Any
    ) -> dict[str, Any]:
        """Token ids of the text columns, cut to the longest input: Arrow columns of lists, by name.

        Args:
            columns: those of texts to read, all if it is empty.
            before: stands before each text.
        """
        longest = self.longest(tokenizer)
        batches: dict[str, list[pa.Array]] = {}
        for start in range(0, len(dataset), _BATCH):
            rows = dataset[start : start + _BATCH]
            texts = [[before + str(text) for text in rows[column]] for column in columns or self.text]
            encoded = tokenizer(*texts, truncation=True, max_length=longest, **options)
            for column, lists in encoded.items():
                batches.setdefault(column, []).append(pa.array(lists, pa.list_(pa.int32())))
        return {column: pa.chunked_array(arrays) for column, arrays in batches.items()}


def needs_fast(processor: Any, why: str) -> Any:
    """``processor``, if it is a fast tokenizer.

    Raises:
        PlanError: if it is not; the message begins with ``why``.
    """
    if getattr(processor, "is_fast", False):
        return processor
    raise PlanError(
        f"{why}, which {type(processor).__name__} cannot say, being no fast tokenizer: give one with a tokenizer.json "
        "as model.tokenizer"
    )


def without_private_columns(
    collate: Callable[[Sequence[Mapping[str, Any]]], Any],
) -> Callable[[Sequence[Mapping[str, Any]]], Any]:
    """``collate`` on examples without the columns that are for ``decode`` alone."""

    def collator(examples: Sequence[Mapping[str, Any]]) -> Any:
        return collate([{k: v for k, v in example.items() if not k.startswith(PRIVATE)} for example in examples])

    return collator
