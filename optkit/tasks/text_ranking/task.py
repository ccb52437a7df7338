"""Rerankers: a score for each pair of a query and a passage, measured on the ranking of each query's passages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
from torch.nn.functional import binary_cross_entropy_with_logits

from optkit.adapters import cross_encoder
from optkit.errors import DataError, PlanError
from optkit.models.head import Head
from optkit.pruning.distillation.mixin import output_loss
from optkit.tasks import numbers
from optkit.tasks.base import PRIVATE, Task
from optkit.tasks.columns import column_of
from optkit.tasks.text_ranking.spec import TEXT_RANKING

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from optkit.recipe import Recipe
    from optkit.recipe.schema import ModelSpec

_QUERY = f"{PRIVATE}query"


class RelevanceObjective:
    """Binary cross-entropy of a relevance and a model's only logit, see ``adapters.trainer.Objective``."""

    def outputs(self, found: Any, batch: Mapping[str, Any]) -> Tensor:
        """The logits (batch, 1)."""
        return found["logits"] if isinstance(found, Mapping) else found.logits

    def loss(self, found: Any, batch: Mapping[str, Any]) -> Tensor:
        """A mean over the pairs with a label; relevances from 1 count as relevant, those between 0 and 1 partly."""
        logits, labels = self.outputs(found, batch)[:, 0], batch.get("labels")
        if labels is None or not (known := ~labels.isnan()).any():
            return logits.sum() * 0.0
        return binary_cross_entropy_with_logits(logits[known].float(), labels[known].float().clamp(max=1.0))

    def distance(self, ours: Any, theirs: Any, batch: Mapping[str, Any], temperature: float) -> Tensor:
        """The mean squared error of the logits."""
        return output_loss(ours, theirs, temperature, problem="regression")


class TextRanking(Task):
    """A relevance for each pair of query and passage; the pairs of one query, wherever they stand, are its candidates.

    Predictions and references are lists, the candidates' scores and relevances of each query in the order in which
    queries first appear, so that a metric goes over queries.
    """

    type = TEXT_RANKING
    keeps_logits = True
    pools_states = True
    agrees = "rank the same passage first for"
    objective = RelevanceObjective()

    @cached_property
    def stored(self) -> cross_encoder.CrossEncoder | None:
        """What the start model's own files of sentence-transformers say; None where it has none.

        Raises:
            PlanError: if they ask for what is not built.
        """
        if self.model is None or self.model.name is None:
            return None
        return cross_encoder.read(self.model.name, self.model.revision)

    def load_processor(self, model: ModelSpec | str | Path, rows: Dataset | None = None) -> Any:
        tokenizer = super().load_processor(model, rows)
        if self.stored is not None and self.stored.max_length is not None:
            tokenizer.model_max_length = min(tokenizer.model_max_length, self.stored.max_length)
        return tokenizer

    def problems(self, recipe: Recipe) -> list[str]:
        try:
            outputs = self.stored.outputs if self.stored is not None else 1
        except PlanError as error:
            return error.problems
        if outputs == 1:
            return []
        return [
            f"model.name: {self.model.name} is a CrossEncoder of {outputs} outputs, and a reranker has one: take one "
            "with num_labels 1, or its base model, or write task.type: text-classification"
        ]

    def groups(self, rows: Dataset) -> np.ndarray:
        """The number of each row's query, in the order in which queries first appear."""
        seen: dict[str, int] = {}
        return np.array([seen.setdefault(str(text), len(seen)) for text in rows[self.text[0]]], np.int64)

    def head(self, splits: Mapping[str, Dataset]) -> Head:
        """One output.

        Raises:
            DataError: if a relevance is no number of 0 or more, all of the training split's are alike, or a split that
                is evaluated has queries without a relevant passage, or no query with several passages.
        """
        problems = numbers.score_problems(splits, self.label[0])
        for split, rows in splits.items() if not problems else ():
            problems += self._ranking_problems(split, rows)
        if problems:
            raise DataError(problems)
        return Head(self.auto_class, ["LABEL_0"], "regression")

    def _ranking_problems(self, split: str, rows: Dataset) -> list[str]:
        found, _ = numbers.scores(split, rows, self.label[0])
        relevances, groups = np.asarray(found), self.groups(rows)
        if (negative := np.flatnonzero(relevances < 0)).size:
            row = int(negative[0])
            held = f"column '{self.label[0]}' holds {relevances[row]:g}"
            return [f"split '{split}', row {row + 1}: {held}: a relevance is 0 or more"]
        if split == "train":  # of each pair there is something to learn
            return []
        if np.bincount(groups).max() == 1:
            return [
                f"task.text: every query in column '{self.text[0]}' of split '{split}' has one passage, and nothing to "
                "rank: give each of its passages a row with the same query"
            ]
        lacking = np.flatnonzero(np.bincount(groups, weights=relevances) == 0)
        if not lacking.size:
            return []
        queries = column_of(rows, self.text[0]).to_pylist()
        first = int(np.argmax(groups == lacking[0]))
        more = f", and {lacking.size - 1} more queries" if lacking.size > 1 else ""
        return [
            f"split '{split}', row {first + 1}: no passage of the query {str(queries[first])[:60]!r} has a relevance "
            f"above 0{more}: no model can be right there: remove them, or mark the relevant passage"
        ]

    def describe(self, splits: Mapping[str, Dataset], head: Head) -> str:
        sizes = (f"{split} {1 + self.groups(rows).max():,}" for split, rows in splits.items())
        return f"{numbers.describe_scores(splits, self.label[0])}; queries: {', '.join(sizes)}"

    def encode(self, dataset: Dataset, processor: Any, head: Head | None) -> Dataset:
        """Columns input_ids, attention_mask and, if the tokenizer makes them, token_type_ids: lists of at most
        max_length ids of the pair; labels: the relevance, NaN without labels.
        """
        table = pa.table(self.tokens(dataset, processor) | {_QUERY: pa.array(self.groups(dataset))})
        relevances = np.full(len(dataset), np.nan, np.float32) if head is None else self._relevances(dataset)
        return datasets.Dataset(table.append_column("labels", pa.array(relevances)), split=dataset.split)

    def _relevances(self, dataset: Dataset) -> np.ndarray:
        return numbers.checked_scores(dataset, self.label[0])

    def decode(self, outputs: np.ndarray, encoded: Dataset, head: Head) -> list[np.ndarray]:
        """The scores of each query's passages, of logits (pairs, 1)."""
        return _by_query(outputs[:, 0], np.asarray(encoded[_QUERY]))

    def references(self, dataset: Dataset, head: Head) -> list[np.ndarray]:
        """The relevances of each query's passages."""
        return _by_query(self._relevances(dataset), self.groups(dataset))

    def score(
        self, predictions: Sequence[np.ndarray], references: Sequence[np.ndarray], head: Head
    ) -> dict[str, float]:
        found = [{"scores": scores.tolist()} for scores in predictions]
        return self.metrics.compute(found, [{"relevances": each.tolist()} for each in references], classes=0)

    def agreement(self, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
        """The share of queries for which two models rank the same passage first."""
        return float(np.mean([a.argmax() == b.argmax() for a, b in zip(ours, theirs, strict=True)]))

    def save_extra_files(self, folder: Path, model: Any, processor: Any) -> None:
        """Adds the files of a CrossEncoder: the start model's own, else new ones."""
        source = self.model if self.stored is not None and self.stored.has_modules else None
        activation = None if self.stored is None else self.stored.activation
        cross_encoder.write(folder, activation, max_length=self.longest(processor), source=source)


def _by_query(values: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(groups, kind="stable")
    return np.split(values[order], np.flatnonzero(np.diff(groups[order])) + 1)
