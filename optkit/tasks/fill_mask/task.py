"""Masked language modelling: tokens that are hidden from the model, and that it is to find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
from transformers import DataCollatorForTokenClassification

from optkit.errors import DataError, PlanError
from optkit.models.head import Head
from optkit.tasks.base import PRIVATE, Task, without_private_columns
from optkit.tasks.fill_mask.masking import MaskedObjective, Masking
from optkit.tasks.fill_mask.spec import FILL_MASK

if TYPE_CHECKING:
    from pathlib import Path

    from datasets import Dataset
    from torch import Tensor

    from optkit.recipe.schema import ModelSpec
    from optkit.recipe.task import TaskSpec

_ROW = f"{PRIVATE}row"
_PLACES = f"{PRIVATE}places"
#: Where in the outputs of a text is how many hidden tokens were found, how many there are, how likely the right ones
#: were, and the tokens that were put in their place.
_HITS, _COUNT, _LIKELIHOOD, _FOUND = range(4)


class FillMask(Task):
    """15 % of a text's tokens are hidden, at least one: others at each epoch of training, always the same ones when a
    model is evaluated. Texts longer than ``max_length`` are cut.

    Which ones depends on the seed, the text's row and the epoch alone, so a resumed training goes on as it would have.
    """

    type = FILL_MASK
    agrees = "guess the same hidden token in"

    def __init__(self, task: TaskSpec, model: ModelSpec | None = None):
        super().__init__(task, model)
        self.label = ()

    @cached_property
    def objective(self) -> MaskedObjective:
        return MaskedObjective()

    def load_processor(self, model: ModelSpec | str | Path, rows: Dataset | None = None) -> Any:
        """The tokenizer.

        Raises:
            PlanError: if it has no token to hide others by.
        """
        tokenizer = super().load_processor(model, rows)
        if tokenizer.mask_token_id is None:
            raise PlanError("task.type: fill-mask needs a tokenizer with a mask token, which the model's has not")
        return tokenizer

    def head(self, splits: Mapping[str, Dataset]) -> Head:
        """One output for each token of the vocabulary, which is not the data's to name."""
        return Head(self.auto_class)

    def input_problems(self, split: str, rows: Dataset) -> list[str]:
        problems = super().input_problems(split, rows)
        if problems:
            return problems
        for column in self.text:
            empty = next((row for row, text in enumerate(rows[column]) if not str(text).strip()), None)
            if empty is not None:
                problems.append(f"split '{split}', row {empty + 1}: column '{column}' holds no text: remove the row")
        return problems

    def encode(self, dataset: Dataset, processor: Any, head: Head | None) -> Dataset:
        """Columns input_ids, attention_mask and, if the tokenizer makes them, token_type_ids, nothing hidden yet.

        Raises:
            DataError: for a text without a token that can be hidden.
        """
        found = self.tokens(dataset, processor, return_special_tokens_mask=True)
        places = [np.flatnonzero(np.asarray(special) == 0) for special in found.pop("special_tokens_mask").to_pylist()]
        empty = next((row for row, own in enumerate(places) if not len(own)), None)
        if empty is not None:
            raise DataError(
                f"split '{dataset.split or 'dataset'}', row {empty + 1}: the text has no token to hide: remove the row"
            )
        found |= {_PLACES: pa.array(places, pa.list_(pa.int32())), _ROW: pa.array(np.arange(len(dataset)))}
        return datasets.Dataset(pa.table(found), split=dataset.split)

    def collator(self, processor: Any, *, training: bool = True) -> Callable[[Sequence[Mapping[str, Any]]], Any]:
        """Batches with tokens hidden, and labels: the hidden tokens' ids, -100 everywhere else."""
        pad = without_private_columns(DataCollatorForTokenClassification(processor))
        return Masking(processor, pad, row=_ROW, places=_PLACES, training=training)

    def samples(self, example: Mapping[str, Any], processor: Any) -> list[Mapping[str, Any]]:
        """The text with the tokens hidden that are when a model is evaluated."""
        batch = self.collator(processor, training=False)([example])
        return [{name: tensor[0].numpy() for name, tensor in batch.items() if name not in self.answers}]

    def outputs(self, found: Any, batch: Mapping[str, Any]) -> Tensor:
        """Counts and tokens of each text, see ``MaskedObjective.outputs``."""
        return self.objective.outputs(found, batch)

    def decode(self, outputs: np.ndarray, encoded: Dataset, head: Head) -> np.ndarray:
        """``outputs`` as they are: what is right was hidden from the very same inputs."""
        return outputs

    def references(self, dataset: Dataset, head: Head) -> tuple[()]:
        """Nothing: it comes with the outputs, since it is made of the tokenizer's own tokens."""
        return ()

    def score(self, predictions: np.ndarray, references: Any, head: Head) -> dict[str, float]:
        found = [{"hits": int(each[_HITS]), "log_likelihood": float(each[_LIKELIHOOD])} for each in predictions]
        return self.metrics.compute(found, predictions[:, _COUNT].astype(np.int64), classes=0)

    def agreement(self, ours: np.ndarray, theirs: np.ndarray) -> float:
        """The share of hidden tokens in whose place two models of one tokenizer put the same."""
        real = np.arange(ours.shape[1] - _FOUND) < ours[:, _COUNT, None]
        return float((ours[:, _FOUND:] == theirs[:, _FOUND:])[real].mean())
