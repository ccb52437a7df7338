"""Embeddings of texts: as sentence-transformers makes them, scored by how well their cosines follow given scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from transformers import DataCollatorWithPadding

from optkit.adapters import sentence_transformers
from optkit.errors import DataError, OptkitError, PlanError
from optkit.models.head import Head
from optkit.recipe.resolved import NO_MODEL
from optkit.tasks import numbers
from optkit.tasks.base import Task, needs_fast
from optkit.tasks.feature_extraction.embeddings import EmbeddingObjective
from optkit.tasks.feature_extraction.spec import FEATURE_EXTRACTION

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from optkit.recipe import DistillSpec, Recipe
    from optkit.recipe.schema import ModelSpec

#: Before the names of an example's columns, for each of its texts.
_PREFIXES = ("", "second_")


class FeatureExtraction(Task):
    """Embeddings, pooled and normalised as the model's sentence-transformers files say.

    With a score as the label, of pairs of texts: the cosines of the two embeddings are to follow it. Without a label,
    of single texts: embeddings are to be those of the dense model, and a teacher alone can train them.
    """

    type = FEATURE_EXTRACTION
    keeps_logits = True
    agrees = "give embeddings whose mean cosine is"

    @cached_property
    def stored_embedding(self) -> sentence_transformers.Embedding | None:
        """What the start model's own files say; None where it has none.

        Raises:
            PlanError: if they ask for what is not built.
        """
        if self.model is None or self.model.name is None:
            return None
        return sentence_transformers.read(self.model.name, self.model.revision)

    @cached_property
    def embedding(self) -> sentence_transformers.Embedding:
        """How texts are embedded.

        Raises:
            PlanError: if the recipe and the model disagree.
        """
        stored, pooling = self.stored_embedding, self.spec.pooling
        if stored is None:
            return sentence_transformers.Embedding(pooling or "mean")
        if pooling not in (None, stored.pooling):
            raise PlanError(f"task.pooling: {self.model.name} pools by {stored.pooling}: remove the key")
        return stored

    @cached_property
    def objective(self) -> EmbeddingObjective:
        return EmbeddingObjective(self.embedding, len(self.text))

    def load_processor(self, model: ModelSpec | str | Path, rows: Dataset | None = None) -> Any:
        """The tokenizer, which reads texts as sentence-transformers does by the start model's files.

        Raises:
            PlanError: if it has to bring them to lower case, and is no fast one.
        """
        tokenizer, stored = super().load_processor(model, rows), self.stored_embedding
        if stored is not None and stored.lower:
            sentence_transformers.lower_case(needs_fast(tokenizer, f"{self.model.name} brings texts to lower case"))
        if stored is not None and stored.max_length is not None:
            tokenizer.model_max_length = min(tokenizer.model_max_length, stored.max_length)
        return tokenizer

    def problems(self, recipe: Recipe) -> list[str]:
        found = []
        try:
            _ = self.embedding
        except PlanError as error:
            found += error.problems
        if recipe.evaluate.baseline not in NO_MODEL:
            found += self._other_embedding(recipe.evaluate.baseline, "main", "evaluate.baseline")
        if self.label:
            if recipe.train and recipe.train.get("per_device_train_batch_size", 8) < 2:
                found.append("train.per_device_train_batch_size: the pairs of a batch are compared: take 2 or more")
            return found
        if recipe.train and recipe.distill is None:
            found.append("distill: without labels only a teacher's embeddings can be learned: write it, or task.label")
        if recipe.evaluate.baseline == "none":
            found.append("evaluate.baseline: without labels embeddings are held against the baseline's: name one")
        for where, asked in (
            ("train.hold_out", "hold_out" in recipe.train),
            ("quantize.max_drop", recipe.quantize is not None and recipe.quantize.max_drop is not None),
        ):
            if asked:
                found.append(f"{where}: goes by a score, which a task without labels has none of: remove it")
        return found

    def teacher_problems(self, distill: DistillSpec, key: str, teacher: Any, student: Any) -> list[str]:
        if not distill.weight:
            return []
        found, ours, theirs = [], student.hidden_size, teacher.config.hidden_size
        spec = distill.teachers[key]
        if len(distill.teachers) > 1:
            found.append(f"{key}: embeddings of several models have no mean that says anything: name one teacher")
        if ours != theirs:
            found.append(
                f"{key}: its embeddings have {theirs} numbers and the student's {ours}: use another, or copy "
                "hidden states alone, with distill.weight=0"
            )
        return found + self._other_embedding(spec.name, spec.revision, key)

    def _other_embedding(self, name: str, revision: str, key: str) -> list[str]:
        """The fault of another model that embeds otherwise than this one, or otherwise than is built."""
        try:
            theirs = sentence_transformers.read(name, revision, key=key)
        except PlanError as error:
            return error.problems
        if theirs in (None, self.embedding):
            return []
        return [f"{key}: {name} embeds by {theirs}, the student by {self.embedding}: use another"]

    def is_trained(self, model: Any) -> bool:
        """Whether a checkpoint embeds texts already: whether it says how."""
        return sentence_transformers.read(model.name, model.revision) is not None

    def head(self, splits: Mapping[str, Dataset]) -> Head:
        """Nothing on top of the encoder.

        Raises:
            DataError: if a label is no number, or all of the training split's are alike.
        """
        if self.label:
            problems = numbers.score_problems(splits, self.label[0])
            if problems:
                raise DataError(problems)
        return Head(self.auto_class)

    def describe(self, splits: Mapping[str, Dataset], head: Head) -> str:
        return numbers.describe_scores(splits, self.label[0]) if self.label else ""

    def encode(self, dataset: Dataset, processor: Any, head: Head | None) -> Dataset:
        """Columns input_ids, attention_mask and, if the tokenizer makes them, token_type_ids: lists of at most
        max_length ids; of a second text the same with ``second_`` before their names; and where there is a label,
        labels: the score, NaN without labels.
        """
        columns: dict[str, Any] = {}
        for column, prefix in zip(self.text, _PREFIXES):
            found = self.tokens(dataset, processor, columns=(column,), before=self.embedding.prompt)
            columns |= {prefix + name: lists for name, lists in found.items()}
        if self.label:
            scores = self.references(dataset, head) if head is not None else np.full(len(dataset), np.nan, np.float32)
            columns["labels"] = pa.array(scores)
        return datasets.Dataset(pa.table(columns), split=dataset.split)

    def samples(self, example: Mapping[str, Any], processor: Any) -> list[dict[str, Any]]:
        """Its texts, each by itself; none that is empty."""
        texts = [_part(example, prefix) for prefix in _PREFIXES[: len(self.text)]]
        return [text for text in texts if len(text["input_ids"])]

    def length(self, example: Mapping[str, Any]) -> int:
        """Tokens of the longest of its texts."""
        return max(len(example[f"{prefix}input_ids"]) for prefix in _PREFIXES[: len(self.text)])

    def collator(self, processor: Any, *, training: bool = True) -> Callable[[Sequence[Mapping[str, Any]]], Any]:
        """Batches of the first texts of all examples, then of the second ones: (examples * texts, seq)."""
        pad = DataCollatorWithPadding(processor)

        def collate(examples: Sequence[Mapping[str, Any]]) -> Any:
            batch = pad([_part(example, prefix) for prefix in _PREFIXES[: len(self.text)] for example in examples])
            for name in ("labels", "teacher_logits"):
                if name in examples[0]:
                    batch[name] = torch.tensor(np.asarray([example[name] for example in examples], np.float32))
            return batch

        return collate

    def outputs(self, found: Any, batch: Mapping[str, Any]) -> Tensor:
        """Embeddings (batch, texts, width)."""
        return self.objective.outputs(found, batch)

    def decode(self, outputs: np.ndarray, encoded: Dataset, head: Head) -> np.ndarray:
        """The embeddings as they are (n, texts, width)."""
        return outputs

    def references(self, dataset: Dataset, head: Head) -> np.ndarray | None:
        """The scores (n,); None without labels, where another model's embeddings are the measure."""
        if not self.label:
            return None
        return numbers.checked_scores(dataset, self.label[0])

    def score(self, predictions: np.ndarray, references: np.ndarray, head: Head) -> dict[str, float]:
        """The recipe's metrics, the headline first: of the cosines of pairs with their scores, correlations; without
        labels ``references`` are embeddings, and their mean cosine counts.
        """
        if self.label:
            return self.metrics.compute(_cosines(predictions[:, 0], predictions[:, 1]), references, classes=0)
        ours, theirs = (found.reshape(-1, found.shape[-1]) for found in (predictions, references))
        if ours.shape != theirs.shape:
            raise OptkitError(
                f"evaluate.baseline: its embeddings have {theirs.shape[1]} numbers and the model's {ours.shape[1]}: "
                "without labels they have to compare: name another baseline"
            )
        return self.metrics.compute(ours, theirs, classes=0)

    def agreement(self, ours: np.ndarray, theirs: np.ndarray) -> float:
        """The mean cosine of two models' embeddings."""
        return float(_cosines(ours, theirs).mean())

    def save_extra_files(self, folder: Path, model: Any, tokenizer: Any) -> None:
        """Adds the files of sentence-transformers: the start model's own, else new ones."""
        source = self.model if self.stored_embedding is not None else None
        sentence_transformers.write(
            folder,
            self.embedding,
            width=model.config.hidden_size,
            max_length=self.longest(tokenizer),
            source=source and source.name,
            revision=source.revision if source else "main",
        )


def _part(example: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The model's inputs for one of the texts of an example."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    return {name: example[prefix + name] for name in names if prefix + name in example}


def _cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Cosines of vectors (..., width), in float64 since some differ in their last digits alone; 0 where a vector has no
    length.
    """
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    return (ours * theirs).sum(-1) / np.maximum(lengths, 1e-12)
