"""A label for each word of a sentence: names of people and places, parts of speech."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
from transformers import DataCollatorForTokenClassification

from optkit.errors import DataError, PlanError
from optkit.models.head import Head
from optkit.models.labels import placeholders
from optkit.tasks.base import PRIVATE, Task, needs_fast, without_private_columns
from optkit.tasks.columns import first_few
from optkit.tasks.token_classification import tags
from optkit.tasks.token_classification.entities import OUTSIDE, is_tag
from optkit.tasks.token_classification.spec import TOKEN_CLASSIFICATION

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 2000
_IGNORED = -100  # as torch's losses know it
_WORDS = f"{PRIVATE}words"


class TokenClassification(Task):
    """Token classification: one column holds lists of words, another a label for each.

    Words are read as a program reads them later: as one text, divided by spaces. A word's label is that of its first
    token; its other tokens are neither trained nor read. A word that the longest
    input cuts off, or that a tokenizer makes no token of, counts as predicted ``O``, or, where there is no such label,
    as wrong.
    """

    type = TOKEN_CLASSIFICATION
    unlabelled = False
    label_smoothing = True
    agrees = "predict the same label for"

    def texts(self, rows: Dataset) -> Iterator[str]:
        return (" ".join(words) for words in rows[self.text[0]])

    def load_processor(self, model: Any, rows: Dataset | None = None) -> Any:
        return _for_words(super().load_processor(model, rows))

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

    def label_mismatches(self, head: Head) -> list[str]:
        """Metrics of entities need labels that say where they stand in one."""
        entity_metrics = [name for name in self.metrics.names if name.startswith("entity_")]
        wrong = [name for name in head.labels if not is_tag(name)]
        if not entity_metrics or not wrong:
            return []
        if placeholders(head.labels):
            what = "is numbers without names, and the start model has none for them"
        else:
            what = f"has labels that are none: {first_few(wrong)}"
        return [
            f"task.metric: {entity_metrics[0]} needs tags such as B-PER, I-PER and O, and column '{self.label[0]}' "
            f"{what}: use token_accuracy"
        ]

    def encode(self, dataset: Dataset, processor: Any, head: Head | None) -> Dataset:
        """Columns input_ids, attention_mask and, if the tokenizer makes them, token_type_ids: lists of at most
        max_length ids; labels: the label id at the first token of each word, -100 at all others; ``_words``: the first
        token of each word, -1 where it has none.
        """
        processor, longest = _for_words(processor), self.longest(processor)
        known = self._ids(dataset, head) if head is not None else None
        found: dict[str, list[Any]] = {}
        for start in range(0, len(dataset), _BATCH):
            words = dataset[start : start + _BATCH][self.text[0]]
            texts, spans = zip(*map(_running_text, words), strict=True)
            encoded = processor(list(texts), truncation=True, max_length=longest)
            for name, lists in encoded.items():
                found.setdefault(name, []).extend(lists)
            for i in range(len(words)):
                first = _first_tokens(encoded.encodings[i], spans[i])
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

    def collator(self, processor: Any, *, training: bool = True) -> Callable[[Sequence[Mapping[str, Any]]], Any]:
        return without_private_columns(DataCollatorForTokenClassification(processor))

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
        if problems := self.label_mismatches(head):
            raise PlanError(problems)
        names = (*head.labels, "")  # -1 is no label
        return self.metrics.compute(*([[names[i] for i in ids] for ids in of] for of in (predictions, references)))

    def agreement(self, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
        """The share of words with the same label."""
        return float((np.concatenate(ours) == np.concatenate(theirs)).mean())


def _running_text(words: Sequence[str]) -> tuple[str, np.ndarray]:
    """The text of ``words``, divided by spaces, and where each begins and ends in it, (words, 2).

    A word begins with the space before it, which some tokenizers make part of its first token, or a token of its own. A
    word of nothing but spaces is left out, and ends where it begins.
    """
    text, spans = "", []
    for word in map(str.strip, words):
        begin = len(text)
        if word:
            text += f" {word}" if text else word
        spans.append((begin, len(text)))
    return text, np.array(spans).reshape(-1, 2)


def _first_tokens(encoding: Any, spans: np.ndarray) -> np.ndarray:
    """The index of the first token of each word, -1 where it has none.

    A token that reaches over several words is of the first of them.

    Args:
        encoding: of a text, with the characters of each token.
        spans: characters of each word (words, 2), see ``_running_text``.
    """
    own = np.flatnonzero(np.asarray(encoding.special_tokens_mask) == 0)
    begins = np.array([encoding.offsets[token][0] for token in own], dtype=np.int64)
    # Words that are left out end where the next begins, and hold no character.
    word_of = np.searchsorted(spans[:, 1], begins, "right")
    first = np.full(len(spans), -1)
    found, where = np.unique(word_of, return_index=True)
    inside = found < len(spans)
    first[found[inside]] = own[where[inside]]
    return first


def _for_words(processor: Any) -> Any:
    """``processor``, if it can say which word a token is of.

    Raises:
        PlanError: if it cannot.
    """
    return needs_fast(processor, "token-classification asks which word a token is of")
