"""A label for each word of a sentence: names of people and places, parts of speech."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.errors import DataError, PlanError
from optkit.metrics.entities import OUTSIDE, is_tag
from optkit.models.head import Head
from optkit.models.labels import placeholders
from optkit.tasks import tags
from optkit.tasks.base import ASIDE, Task, needs_fast, without_asides
from optkit.tasks.columns import some

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 2000
_IGNORED = -100  # as torch's losses know it
_WORDS = f"{ASIDE}words"


class TokenClassification(Task):
    """Token classification: one column holds lists of words, another a label for each.

    A word's label is that of its first token; its other tokens are neither trained nor read. A word that the longest
    input cuts off, or that a tokenizer makes no token of, counts as predicted ``O``, or, where there is no such label,
    as wrong.
    """

    auto_class = "AutoModelForTokenClassification"
    ov_class = "OVModelForTokenClassification"
    export_task = "token-classification"
    unlabelled = False
    smooths = True
    agrees = "predict the same label for"

    def texts(self, rows: Dataset) -> Iterator[str]:
        return (" ".join(words) for words in rows[self.text[0]])

    def reader(self, model: Any, rows: Dataset | None = None) -> Any:
        return _for_words(super().reader(model, rows))

    def input_problems(self, split: str, rows: Dataset) -> list[str]:
        return tags.word_problems(split, rows, self.text[0])

    def head(self, splits: Mapping[str, Dataset]) -> Head:
        """The names of the labels in the order of their ids.

        They come from the training split alone (from the first split where there is no ``train``): the names of a
        ClassLabel; ``LABEL_0`` ... for the integers 0 to n - 1; else the different words, sorted.

        Raises:
            DataError: if a row lacks labels, has more or fewer than words, or one that is none of the names.
        """
        names, problems = tags.tag_names(splits, self.label[0])
        for split, rows in splits.items():
            # Words that are none have no labels to check, and are a fault of their own.
            if not problems and not tags.word_problems(split, rows, self.text[0]):
                problems += tags.tag_ids(split, rows, self.text[0], self.label[0], names)[1]
        if problems:
            raise DataError(problems)
        return Head(self.auto_class, names)

    def misfits(self, head: Head) -> list[str]:
        """Metrics of entities need labels that say where they stand in one."""
        asked = [name for name in self.metrics.names if name.startswith("entity_")]
        wrong = [name for name in head.labels if not is_tag(name)]
        if not asked or not wrong:
            return []
        if placeholders(head.labels):
            what = "is numbers without names, and the start model has none for them"
        else:
            what = f"has labels that are none: {some(wrong)}"
        return [
            f"task.metric: {asked[0]} needs tags such as B-PER, I-PER and O, and column '{self.label[0]}' {what}: "
            "use token_accuracy"
        ]

    def encode(self, dataset: Dataset, reader: Any, head: Head | None) -> Dataset:
        """Columns input_ids, attention_mask and, if the tokenizer makes them, token_type_ids: lists of at most
        max_length ids; labels: the label id at the first token of each word, -100 at all others; ``_words``: the first
        token of each word, -1 where it has none.
        """
        import datasets
        import pyarrow as pa

        reader, longest = _for_words(reader), self.longest(reader)
        known = self._ids(dataset, head) if head is not None else None
        found: dict[str, list[Any]] = {}
        for start in range(0, len(dataset), _BATCH):
            words = dataset[start : start + _BATCH][self.text[0]]
            encoded = reader(words, is_split_into_words=True, truncation=True, max_length=longest)
            for name, lists in encoded.items():
                found.setdefault(name, []).extend(lists)
            for i in range(len(words)):
                first = _first_tokens(encoded.word_ids(i), len(words[i]))
                labels = np.full(len(encoded["input_ids"][i]), _IGNORED)
                if known is not None:
                    labels[first[first >= 0]] = known[start + i][first >= 0]
                found.setdefault("labels", []).append(labels)
                found.setdefault(_WORDS, []).append(first)
        kinds = {"labels": pa.int64()}
        table = pa.table({n: pa.array(lists, pa.list_(kinds.get(n, pa.int32()))) for n, lists in found.items()})
        return datasets.Dataset(table, split=dataset.split)

    def _ids(self, dataset: Dataset, head: Head) -> list[np.ndarray]:
        split = str(dataset.split or "dataset")
        found, problems = tags.tag_ids(split, dataset, self.text[0], self.label[0], head.labels)
        if problems:
            raise DataError(problems)
        return found

    def collator(self, reader: Any, *, training: bool = True) -> Callable[[Sequence[Mapping[str, Any]]], Any]:
        from transformers import DataCollatorForTokenClassification

        return without_asides(DataCollatorForTokenClassification(reader))

    def decode(self, outputs: np.ndarray, encoded: Dataset, head: Head) -> list[np.ndarray]:
        """The label id of each word of each example, -1 where nothing was predicted and there is no ``O``.

        Args:
            outputs: logits (examples, tokens, labels).
        """
        outside = list(head.labels).index(OUTSIDE) if OUTSIDE in head.labels else -1
        found = []
        for logits, words in zip(outputs, encoded.with_format(None)[_WORDS], strict=True):
            first = np.asarray(words)
            found.append(np.where(first < 0, outside, logits[first].argmax(-1)))
        return found

    def references(self, dataset: Dataset, head: Head) -> list[np.ndarray]:
        return self._ids(dataset, head)

    def score(
        self, predictions: Sequence[np.ndarray], references: Sequence[np.ndarray], head: Head
    ) -> dict[str, float]:
        """The recipe's metrics, the headline first, as shares of 1.

        Raises:
            PlanError: if the labels are no tags of entities, and a metric needs them.
        """
        if problems := self.misfits(head):
            raise PlanError(problems)
        names = (*head.labels, "")  # -1 is no label
        said = [[[names[i] for i in ids] for ids in of] for of in (predictions, references)]
        return self.metrics.compute(*said)

    def agreement(self, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
        """The share of words with the same label."""
        return float((np.concatenate(ours) == np.concatenate(theirs)).mean())


def _first_tokens(word_of: Sequence[int | None], words: int) -> np.ndarray:
    """The index of the first token of each word, -1 where it has none."""
    tokens = np.array([-1 if word is None else word for word in word_of])
    first = np.full(words, -1)
    found, where = np.unique(tokens, return_index=True)
    first[found[found >= 0]] = where[found >= 0]
    return first


def _for_words(reader: Any) -> Any:
    """``reader``, set to read words that were divided already.

    Raises:
        PlanError: if it cannot say which word a token is of.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    backend = needs_fast(reader, "token-classification asks which word a token is of").backend_tokenizer
    splitter = backend.pre_tokenizer
    if isinstance(splitter, ByteLevel):
        # Its words begin with a space: without one each would be read as the end of another.
        splitter.add_prefix_space = True
        backend.pre_tokenizer = splitter
        reader.add_prefix_space = reader.init_kwargs["add_prefix_space"] = True
    return reader
