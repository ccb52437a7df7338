"""The data, labels and tokenizer of a run, each loaded at first use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.data.splits import load_splits, part
from optkit.models import adopt_labels, kept_head, longest_input
from optkit.models.config import make_config
from optkit.models.source import Source
from optkit.recipe.export import DYNAMIC

if TYPE_CHECKING:
    from optkit.models import Head, KeptHead
    from optkit.progress import Reporter
    from optkit.recipe import Recipe
    from optkit.tasks.base import Task


class RunData:
    """The examples of a recipe's dataset, as rows and as token ids, and what reads them.

    Args:
        recipe: names the dataset, the model and the seed.
        task: checks and encodes the rows.
        reporter: shows progress.
    """

    def __init__(self, recipe: Recipe, task: Task, reporter: Reporter):
        self._recipe, self._task, self._reporter = recipe, task, reporter
        self._encoded: dict[str, Any] = {}

    @cached_property
    def _all_splits(self) -> Any:
        """The whole training split and those that are evaluated, checked."""
        splits = load_splits(
            self._recipe.task.dataset,
            seed=self._recipe.seed,
            needed=["train", *self._recipe.evaluate.splits],
            file_columns=self._task.files,
        )
        self._task.check(splits)
        return splits

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        """The training split without its hold-out, and the hold-out; None where there is none."""
        rows, size = self._all_splits["train"], self._recipe.train.get("hold_out")
        return (rows, None) if size is None else part(rows, size, self._recipe.seed, self._task.groups(rows))

    @cached_property
    def splits(self) -> Any:
        """The training split, its hold-out taken off, and those that are evaluated."""
        return {**self._all_splits, "train": self._parts[0]}

    @property
    def held_out(self) -> int:
        """How many examples of the training split are held out."""
        return 0 if self._parts[1] is None else len(self._parts[1])

    @property
    def hold_out_rows(self) -> Any:
        """The examples of the training split to choose the best model by, or None."""
        return self._parts[1]

    @cached_property
    def hold_out(self) -> Any:
        """The examples of the training split to choose the best model by, as the start model's token ids, or None."""
        return None if self._parts[1] is None else self._task.encode(self._parts[1], self.tokenizer, self.head)

    @cached_property
    def data_head(self) -> Head:
        """What the task asks of a model as far as the data tell."""
        return self._task.head(self._all_splits)

    @cached_property
    def head(self) -> Head:
        """The same; names of classes are the start model's where the data only numbers them."""
        return self.data_head if self._recipe.model.name is None else adopt_labels(self._recipe.model, self.data_head)

    @cached_property
    def start_head(self) -> KeptHead | None:
        """The start model's head where it was trained on these labels; None where training makes a new one."""
        model = self._recipe.model
        return None if model.name is None else kept_head(model, self.head)

    @cached_property
    def tokenizer(self) -> Any:
        return self._task.load_processor(self._recipe.model, self.splits["train"])

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of the inputs that are timed, before they are cut to what the model takes."""
        spec, shapes = self._recipe.benchmark, self._recipe.export.shapes
        return (spec and spec.seq) or (128 if shapes == DYNAMIC else shapes.seq,)

    @cached_property
    def longest(self) -> int | None:
        """How many tokens the start model has positions for; None where it has no such limit."""
        if self.head.reads_images:
            return None
        model = self._recipe.model
        trained_here = model.tokenizer is not None and not isinstance(model.tokenizer, str)
        config = make_config(Source.of(model), self.head, None if trained_here else self.tokenizer)
        if trained_here and "pad_token_id" not in model.config:
            config.pad_token_id = 0  # as the vocabularies that are learned here begin
        return longest_input(config)

    def encode(self, split: str) -> Any:
        """The examples of a split as the start model's token ids."""
        if split not in self._encoded:
            with self._reporter.task(f"encoding {split}"):
                self._encoded[split] = self._task.encode(self.splits[split], self.tokenizer, self.head)
        return self._encoded[split]

    def draw(self, samples: int, *, labelled: bool = False) -> list[dict[str, Any]]:
        """``samples`` of the training split drawn with the recipe's seed, all if there are fewer, as token ids."""
        encoded = self.encode("train")
        if not labelled:
            encoded = encoded.remove_columns([name for name in self._task.answers if name in encoded.column_names])
        rows = np.random.default_rng(self._recipe.seed).permutation(len(encoded))[:samples]
        return [encoded[int(row)] for row in rows]

    def calibration(self, samples: int) -> list[Mapping[str, Any]]:
        """``samples`` inputs of the training split for a model to run on one at a time, drawn as by ``draw``."""
        drawn, processor = self.draw(samples), self.tokenizer
        return [sample for example in drawn for sample in self._task.samples(example, processor)][:samples]

    def batches(self, samples: int, size: int = 32, *, labelled: bool = False) -> list[dict[str, Any]]:
        """What ``draw`` gives as padded tensors, ``size`` examples each, by length so that little is padding."""
        examples = sorted(self.draw(samples, labelled=labelled), key=self._task.length)
        collate = self._task.collator(self.tokenizer, training=False)
        batches = [collate(examples[start : start + size]) for start in range(0, len(examples), size)]
        dropped = () if labelled else self._task.answers
        return [{name: tensor for name, tensor in batch.items() if name not in dropped} for batch in batches]
