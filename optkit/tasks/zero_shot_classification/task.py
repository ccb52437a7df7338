"""Zero-shot classification by entailment: a text and a hypothesis for each class, the entailed one of which is right.

Yin et al. 2019, Benchmarking Zero-shot Text Classification, https://arxiv.org/abs/1909.00161.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa

from optkit.errors import DataError, PlanError
from optkit.json_files import read_json
from optkit.models import stored_head
from optkit.models.head import Head
from optkit.models.labels import placeholders
from optkit.tasks import classes
from optkit.tasks.base import Task
from optkit.tasks.columns import first_few
from optkit.tasks.zero_shot_classification.spec import ZERO_SHOT_CLASSIFICATION, entailed, with_template

if TYPE_CHECKING:
    from datasets import Dataset

    from optkit.recipe.schema import ModelSpec

#: Outputs of a model that has no head for natural language inference yet.
_NEW = ("entailment", "not_entailment")


class ZeroShotClassification(Task):
    """Every text becomes a pair with the hypothesis of each class. The model's outputs are those of natural language
    inference; the class of a text is that whose hypothesis has the highest logit of entailment, as in transformers'
    pipeline with one label.

    Learned are the pairs, by cross-entropy: entailment for the class of the text, contradiction for all others.
    """

    type = ZERO_SHOT_CLASSIFICATION
    keeps_logits = True
    pools_states = True
    unlabelled = False
    windows = True
    names_outputs = False
    agrees = "predict the same class for"

    def texts(self, rows: Dataset) -> Iterator[str]:
        yield from super().texts(rows)
        yield from self._hypotheses(classes.label_names({"train": rows}, self.label[0])[0])

    def head(self, splits: Mapping[str, Dataset]) -> Head:
        """The outputs of the start model's head for natural language inference, of a new one where it has none; and
        the classes of the data as its ``candidates``.

        Raises:
            DataError: if the labels are no classes with names, or another split has a label that is none of them.
            PlanError: if the start model's head says nothing of entailment.
        """
        label = self.label[0]
        found, problems = classes.label_names(splits, label)
        if not problems and (placeholders(found) or all(name.strip().isdecimal() for name in found)):
            problems = [f"task.label: column '{label}' numbers its classes, and a hypothesis needs a name: write words"]
        for split, rows in splits.items() if not problems else ():
            problems += classes.label_ids(split, rows, label, found)[1]
        if problems:
            raise DataError(problems)
        return Head(self.auto_class, self._outputs(), candidates=found)

    def _outputs(self) -> Sequence[str]:
        stored = None
        if self.model is not None and self.model.name is not None:
            stored = stored_head(self.model, Head(self.auto_class, ["any"]))
        if stored is None:
            return _NEW
        if entailed(stored) is None or _contradiction(stored) is None:
            raise PlanError(
                f"model.name: {self.model.name} has the outputs {first_few(stored)}, and entailment or contradiction "
                "is none of them: take a model of natural language inference, or name its outputs in id2label of its "
                "config.json"
            )
        return stored

    def is_trained(self, model: ModelSpec) -> bool:
        """No model is for classes that it is asked for the first time."""
        return False

    def describe(self, splits: Mapping[str, Dataset], head: Head) -> str:
        return f"classes: {', '.join(head.candidates)}, asked for as '{self.spec.template}'"

    def _hypotheses(self, names: Sequence[str]) -> list[str]:
        return [self.spec.template.replace("{}", name) for name in names]

    def columns_of_texts(self, rows: Mapping[str, Any] | Dataset) -> list[list[str]]:
        texts = [str(text) for text in rows[self.text[0]]]
        return [texts, [self.spec.template] * len(texts)]

    def encode(self, dataset: Dataset, processor: Any, head: Head | None) -> Dataset:
        """Columns input_ids, attention_mask and, if the tokenizer makes them, token_type_ids: lists of at most
        max_length ids of a text and a hypothesis, each text with all in the order of the classes; labels: the output
        that is right for the pair.
        """
        texts, (template, *_) = self.columns_of_texts(dataset)
        hypotheses = [template] if head is None else self._hypotheses(head.candidates)
        pairs = {"text": np.repeat(texts, len(hypotheses)).tolist(), "hypothesis": hypotheses * len(texts)}
        found = self.tokens(datasets.Dataset.from_dict(pairs), processor, columns=tuple(pairs))
        if head is not None:
            right = self.references(dataset, head)[:, None] == np.arange(len(hypotheses))
            answers = np.where(right, entailed(head.labels), _contradiction(head.labels))
            found["labels"] = pa.array(answers.reshape(-1).astype(np.int64))
        return datasets.Dataset(pa.table(found), split=dataset.split)

    def decode(self, outputs: np.ndarray, encoded: Dataset, head: Head) -> np.ndarray:
        """Class ids (n,) of logits (n * classes, outputs)."""
        logits = outputs[:, entailed(head.labels)]
        return logits.reshape(-1, len(head.candidates)).argmax(-1)

    def references(self, dataset: Dataset, head: Head) -> np.ndarray:
        return classes.checked_label_ids(dataset, self.label[0], head.candidates)

    def score(self, predictions: np.ndarray, references: np.ndarray, head: Head) -> dict[str, float]:
        """The recipe's metrics, the headline first, as shares of 1."""
        return self.metrics.compute(predictions, references, classes=len(head.candidates))

    def save_extra_files(self, folder: Path, model: Any, processor: Any) -> None:
        """Keeps the template in config.json: a model knows the hypotheses that it was trained with."""
        file = folder / "config.json"
        config = with_template(read_json(file), self.spec.template)
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _contradiction(outputs: Sequence[str]) -> int | None:
    """The output for a hypothesis that is wrong, of two outputs the other one; None without one."""
    if len(outputs) == 2:
        entailment = entailed(outputs)
        return None if entailment is None else 1 - entailment
    return next((i for i, name in enumerate(outputs) if name.lower().startswith("contradict")), None)
