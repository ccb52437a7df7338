"""Extractive question answering in the manner of SQuAD: which part of a text answers a question, if any does.

Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250; with questions that have no answer: Rajpurkar et al. 2018,
https://arxiv.org/abs/1806.03822. How a text that is longer than the model's input is read, and how a model says that
there is no answer, is as in Devlin et al. 2019, https://arxiv.org/abs/1810.04805.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
import torch

from optkit.errors import DataError
from optkit.models.head import Head
from optkit.tasks.base import PRIVATE, Task, needs_fast
from optkit.tasks.question_answering.answers import Gold, best_span, gold_answers, shorten, token_span
from optkit.tasks.question_answering.spec import QUESTION_ANSWERING

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from optkit.recipe.schema import ModelSpec
    from optkit.recipe.task import TaskSpec

_BATCH = 500
_EXAMPLE, _CONTEXT, _NULL, _FIRST = (f"{PRIVATE}{name}" for name in ("example", "context", "null", "first"))
_STARTS, _ENDS = f"{PRIVATE}starts", f"{PRIVATE}ends"


class QuestionAnswering(Task):
    """Question answering: text columns [question, context], and answers that are parts of the context.

    A context that does not fit is read in several windows, of which each begins with the last ``stride`` tokens of the
    one before; the best answer of all of them counts. Where the data have questions without an answer, a model says
    so by pointing to its first token (CLS), if that scores higher than the best answer by more than
    ``null_threshold``.
    """

    type = QUESTION_ANSWERING
    answers = ("start_positions", "end_positions")
    unlabelled = False
    windows = True
    agrees = "give the same answer for"

    def __init__(self, task: TaskSpec, model: ModelSpec | None = None):
        super().__init__(task, model)
        self.stride, self.max_answer_length = task.stride, task.max_answer_length
        self.null_threshold = task.null_threshold

    def load_processor(self, model: Any, rows: Dataset | None = None) -> Any:
        return _with_offsets(super().load_processor(model, rows))

    def head(self, splits: Mapping[str, Dataset]) -> Head:
        """Whether the data have questions without an answer.

        Raises:
            DataError: if answers are missing or malformed, or not where in the context they say they are.
        """
        problems, unanswerable = [], False
        for split, rows in splits.items():
            found, wrong = gold_answers(split, rows, self.text[1], self.label[0])
            problems += wrong
            unanswerable |= any(not gold.texts for gold in found)
        if problems:
            raise DataError(problems)
        return Head(self.auto_class, unanswerable=unanswerable)

    def encode(self, dataset: Dataset, processor: Any, head: Head | None) -> Dataset:
        """One row for each window, those of an example in turn.

        Columns input_ids, attention_mask and, if the tokenizer makes them, token_type_ids: lists of at most max_length
        ids. start_positions and end_positions: the first and the last token of the example's first answer; both
        ``_null`` where it has none, or none within the window. For ``decode``: ``_example``, the row of the dataset;
        ``_context``, its text, in its first window alone; ``_null``, the token that stands for no answer; ``_first``,
        the first token of the context; ``_starts`` and ``_ends``, the characters of the context where its tokens begin
        and end.

        A question takes at most half of the window; a longer one is cut.
        """
        longest = self.longest(_with_offsets(processor))
        room = max(longest // 2 - processor.num_special_tokens_to_add(pair=True), 1)
        known = self._gold(dataset) if head is not None else None
        found: dict[str, list[Any]] = {}
        for start in range(0, len(dataset), _BATCH):
            rows = dataset[start : start + _BATCH]
            questions, contexts = ([str(text) for text in rows[column]] for column in self.text)
            encoded = processor(
                shorten(questions, processor, room),
                contexts,
                truncation="only_second",
                max_length=longest,
                stride=min(self.stride, (longest - 1) // 2),
                return_overflowing_tokens=True,
            )
            examples = encoded.pop("overflow_to_sample_mapping")
            for name, lists in encoded.items():
                found.setdefault(name, []).extend(lists)
            for window, i in enumerate(examples):
                new = window == 0 or examples[window - 1] != i
                gold = known[start + i] if known is not None else None
                for name, value in _window(encoded.encodings[window], processor.cls_token_id, gold).items():
                    found.setdefault(name, []).append(value)
                found.setdefault(_EXAMPLE, []).append(start + i)
                found.setdefault(_CONTEXT, []).append(contexts[i] if new else None)
        ids = pa.list_(pa.int32())
        kinds = {_EXAMPLE: pa.int64(), _CONTEXT: pa.string(), _NULL: pa.int32(), _FIRST: pa.int32()}
        kinds |= dict.fromkeys(self.answers, pa.int64())
        table = pa.table({name: pa.array(values, kinds.get(name, ids)) for name, values in found.items()})
        return datasets.Dataset(table, split=dataset.split)

    def _gold(self, dataset: Dataset) -> list[Gold]:
        found, problems = gold_answers(str(dataset.split or "dataset"), dataset, self.text[1], self.label[0])
        if problems:
            raise DataError(problems)
        return found

    def outputs(self, found: Any, batch: Mapping[str, Any]) -> Tensor:
        """Scores of each token for being the first and the last of the answer, (batch, tokens, 2)."""
        return torch.stack((found.start_logits, found.end_logits), dim=-1)

    def postprocess(self, predictions: Any) -> np.ndarray:
        return np.stack(predictions[:2], axis=-1)

    def decode(self, outputs: np.ndarray, encoded: Dataset, head: Head) -> list[str]:
        """The answer to each example, empty for no answer."""
        plain = encoded.with_format(None)
        named = {name: plain[name][:] for name in (_EXAMPLE, _CONTEXT, _NULL, _FIRST, _STARTS, _ENDS)}
        answers: list[str] = []
        best, null, text = -np.inf, np.inf, ""
        for scores, (example, context, at, first, starts, ends) in zip(
            outputs, zip(*named.values(), strict=True), strict=True
        ):
            if example == len(answers):
                best, null, text = -np.inf, np.inf, context
                answers.append("")
            start, end = scores[first : first + len(starts)].T
            score, i, j = best_span(start, end, self.max_answer_length)
            null = min(null, float(scores[at].sum()))
            if score > best:
                best, answer = score, text[starts[i] : ends[j]].strip()
            silent = head.unanswerable and null - best > self.null_threshold
            answers[-1] = "" if silent or best == -np.inf else answer
        return answers

    def references(self, dataset: Dataset, head: Head) -> list[list[str]]:
        """All right answers to each example, none where it has none."""
        return [gold.texts for gold in self._gold(dataset)]

    def score(self, predictions: Sequence[str], references: Sequence[list[str]], head: Head) -> dict[str, float]:
        """The recipe's metrics, the headline first, as shares of 1."""
        return self.metrics.compute(predictions, references)


def _window(encoding: Any, cls: int | None, gold: Gold | None) -> dict[str, Any]:
    """What ``encode`` says of one window, but for its example and the inputs of the model."""
    second = np.array([part == 1 for part in encoding.sequence_ids])
    tokens = np.flatnonzero(second)
    offsets = np.array(encoding.offsets)[tokens].reshape(-1, 2)
    first = int(tokens[0]) if len(tokens) else 0
    null = encoding.ids.index(cls) if cls in encoding.ids else 0
    found = {_NULL: null, _FIRST: first, _STARTS: offsets[:, 0], _ENDS: offsets[:, 1]}
    if gold is None:
        return found
    span = token_span(gold.starts[0], len(gold.texts[0]), *offsets.T) if gold.texts else None
    begin, end = (null, null) if span is None else (first + span[0], first + span[1])
    return found | {"start_positions": begin, "end_positions": end}


def _with_offsets(processor: Any) -> Any:
    return needs_fast(processor, "question-answering asks which characters a token is of")
