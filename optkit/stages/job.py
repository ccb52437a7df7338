"""What the stages of one run share: the recipe, the run folder, and the data and tokenizer, loaded at first use."""

from __future__ import annotations

import sys
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.models import adopt_labels, has_trained_head, load_model, load_tokenizer
from optkit.ranks import Team
from optkit.recipe.resolved import identity
from optkit.rundir import digest
from optkit.tasks import get_task

if TYPE_CHECKING:
    from optkit.progress import Reporter
    from optkit.pruning.config import Rule
    from optkit.recipe import Recipe
    from optkit.recipe.schema import OneShotSpec
    from optkit.rundir import RunDir

PACKAGES = ("optkit", "torch", "transformers", "datasets", "accelerate", "openvino", "nncf", "optimum-intel")


class Job:
    """One recipe at work.

    Args:
        recipe: what to do.
        run: where; None when nothing is written, as for a plan.
        reporter: who is told.
        team: the processes that work on it, those of this launch.
    """

    def __init__(self, recipe: Recipe, run: RunDir | None, reporter: Reporter, team: Team | None = None):
        self.recipe, self.run, self.reporter, self.team = recipe, run, reporter, team or Team()
        self.task = get_task(recipe.task)
        self._encoded: dict[str, Any] = {}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The recipe as plain data, local paths replaced by hashes: what keys are made of."""
        return identity(self.recipe)

    def key(self, *parts: str, **more: Any) -> str:
        """Digest of these parts of the recipe, and of whatever else a stage depends on."""
        return digest({part: self.identity.get(part) for part in parts} | more)

    @property
    def data_identity(self) -> dict[str, Any]:
        """What decides which examples the model sees."""
        task = {name: value for name, value in self.identity["task"].items() if name != "metric"}
        return task | {key: value for key, value in self.identity["train"].items() if key == "hold_out"}

    @cached_property
    def versions(self) -> dict[str, str]:
        """Installed versions of what a result may depend on."""
        found = {"python": sys.version.split()[0]}
        for package in PACKAGES:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        return found

    @cached_property
    def _loaded(self) -> Any:
        """The whole training split and those that are evaluated, checked."""
        from optkit.data import load_splits

        splits = load_splits(
            self.recipe.task.dataset, seed=self.recipe.seed, needed=["train", *self.recipe.evaluate.splits]
        )
        self.task.check(splits)
        return splits

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        """The training split without its hold-out, and the hold-out; None where there is none."""
        from optkit.data import part

        rows, wanted = self._loaded["train"], self.recipe.train.get("hold_out")
        return (rows, None) if wanted is None else part(rows, wanted, self.recipe.seed)

    @cached_property
    def splits(self) -> Any:
        """The training split, its hold-out taken off, and those that are evaluated."""
        return {**self._loaded, "train": self._parts[0]}

    @property
    def held_out(self) -> int:
        """How many examples of the training split are held out."""
        return 0 if self._parts[1] is None else len(self._parts[1])

    @cached_property
    def hold_out(self) -> Any:
        """The examples of the training split to choose the best model by, as the start model's token ids, or None."""
        return None if self._parts[1] is None else self.task.encode(self._parts[1], self.tokenizer, self.labels)

    @cached_property
    def labels(self) -> list[str]:
        """Names of the classes by id: the data's, or the start model's where the data only numbers them."""
        labels = self.task.labels(self._loaded)
        if self.recipe.model.name is None:
            return labels
        return adopt_labels(self.recipe.model, self.task.auto_class, labels)

    @cached_property
    def tokenizer(self) -> Any:
        train = self.splits["train"]
        texts = (str(text) for column in self.task.text for text in train[column])
        return load_tokenizer(self.recipe.model, texts)

    def encoded(self, split: str) -> Any:
        """The examples of a split as the start model's token ids."""
        if split not in self._encoded:
            self._encoded[split] = self.task.encode(self.splits[split], self.tokenizer, self.labels)
        return self._encoded[split]

    def drawn(self, samples: int, *, labelled: bool = False) -> list[dict[str, Any]]:
        """``samples`` of the training split drawn with the recipe's seed, all if there are fewer, as token ids."""
        encoded = self.encoded("train")
        if not labelled and "labels" in encoded.column_names:
            encoded = encoded.remove_columns("labels")
        rows = np.random.default_rng(self.recipe.seed).permutation(len(encoded))[:samples]
        return [encoded[int(row)] for row in rows]

    def batches(self, samples: int, size: int = 32, *, labelled: bool = False) -> list[dict[str, Any]]:
        """What ``drawn`` gives as padded tensors, ``size`` examples each, by length so that little is padding."""
        examples = sorted(self.drawn(samples, labelled=labelled), key=lambda example: len(example["input_ids"]))
        collate = self.task.collator(self.tokenizer)
        return [dict(collate(examples[start : start + size])) for start in range(0, len(examples), size)]

    @cached_property
    def rules(self) -> list[Rule]:
        return [rule.build() for rule in self.recipe.prune]

    def start_model(self) -> Any:
        """What training starts from; the same weights at each call."""
        spec, seed = self.recipe.model, self.recipe.seed
        return load_model(spec, self.task.auto_class, self.labels, seed=seed, tokenizer=self.tokenizer)

    @property
    def trains(self) -> bool:
        """Whether there is any training to do; without it a model is pruned in one shot, or stays as it is."""
        return bool(self.recipe.train)

    @property
    def one_shot(self) -> OneShotSpec | None:
        """How the model is pruned in one shot; None where it is pruned in training, or not at all."""
        from optkit.recipe.schema import OneShotSpec

        return (self.recipe.oneshot or OneShotSpec()) if self.recipe.prune and not self.trains else None

    @cached_property
    def baseline(self) -> str | None:
        """What the result is compared with: ``start``, ``teacher``, ``trained``, a checkpoint's name, or None."""
        wanted = self.recipe.evaluate.baseline
        if wanted != "auto":
            return None if wanted == "none" else wanted
        if self.recipe.model.name is not None and has_trained_head(
            self.recipe.model, self.task.auto_class, self.labels
        ):
            return "start"
        return "teacher" if self.recipe.distill is not None else "trained"

    def path(self, name: str) -> Path:
        """A folder of this run."""
        return self.run.path / name
