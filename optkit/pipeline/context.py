"""What the stages of one run share: the recipe, the run folder, and the data and tokenizer, loaded at first use."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.models import adopt_labels, has_trained_head, load_model, longest_input
from optkit.models.source import Source
from optkit.pipeline.run_folder import digest
from optkit.ranks import Team
from optkit.recipe.export import DYNAMIC
from optkit.recipe.resolved import NO_MODEL, identity
from optkit.tasks import get_task
from optkit.versions import installed

if TYPE_CHECKING:
    from optkit.models import Head
    from optkit.pipeline.run_folder import RunDir
    from optkit.progress import Reporter
    from optkit.pruning.config import Rule
    from optkit.recipe import Recipe
    from optkit.recipe.schema import OneShotSpec

PACKAGES = (
    *("optkit", "torch", "transformers", "datasets", "accelerate", "openvino", "nncf", "optimum-intel"),
    *("onnx", "onnxruntime"),
)


class Job:
    """One recipe at work.

    Args:
        recipe: what to do.
        run: where; None when nothing is written, as for a plan.
        reporter: who is told.
        team: the processes that work on it, those of this launch.
        exports: whether the work goes on to the export, and does not stop before it.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: RunDir | None,
        reporter: Reporter,
        team: Team | None = None,
        *,
        exports: bool = True,
    ):
        self.recipe, self.run, self.reporter, self.team = recipe, run, reporter, team or Team()
        self.exports = exports
        self.task = get_task(recipe.task, recipe.model)
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
        found = {package: installed(package) for package in PACKAGES}
        return {"python": sys.version.split()[0]} | {name: own for name, own in found.items() if own is not None}

    @cached_property
    def machine(self) -> dict[str, Any]:
        """The machine that stages of this process run on."""
        from optkit.report.facts import machine

        return machine()

    @cached_property
    def _loaded(self) -> Any:
        """The whole training split and those that are evaluated, checked."""
        from optkit.data import load_splits

        splits = load_splits(
            self.recipe.task.dataset,
            seed=self.recipe.seed,
            needed=["train", *self.recipe.evaluate.splits],
            file_columns=self.task.files,
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

    @property
    def hold_out_rows(self) -> Any:
        """The examples of the training split to choose the best model by, or None."""
        return self._parts[1]

    @cached_property
    def hold_out(self) -> Any:
        """The examples of the training split to choose the best model by, as the start model's token ids, or None."""
        return None if self._parts[1] is None else self.task.encode(self._parts[1], self.tokenizer, self.head)

    @cached_property
    def data_head(self) -> Head:
        """What the task asks of a model as far as the data tell."""
        return self.task.head(self._loaded)

    @cached_property
    def head(self) -> Head:
        """The same; names of classes are the start model's where the data only numbers them."""
        return self.data_head if self.recipe.model.name is None else adopt_labels(self.recipe.model, self.data_head)

    @cached_property
    def tokenizer(self) -> Any:
        return self.task.load_processor(self.recipe.model, self.splits["train"])

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of the inputs that are timed, before they are cut to what the model takes."""
        spec, shapes = self.recipe.benchmark, self.recipe.export.shapes
        return (spec and spec.seq) or (128 if shapes == DYNAMIC else shapes.seq,)

    @cached_property
    def longest(self) -> int | None:
        """How many tokens the start model has positions for; None where it has no such limit."""
        from optkit.models.config import make_config

        if self.head.reads_images:
            return None
        model = self.recipe.model
        trained_here = model.tokenizer is not None and not isinstance(model.tokenizer, str)
        config = make_config(Source.of(model), self.head, None if trained_here else self.tokenizer)
        if trained_here and "pad_token_id" not in model.config:
            config.pad_token_id = 0  # as the vocabularies that are learned here begin
        return longest_input(config)

    def encoded(self, split: str) -> Any:
        """The examples of a split as the start model's token ids."""
        if split not in self._encoded:
            with self.reporter.task(f"encoding {split}"):
                self._encoded[split] = self.task.encode(self.splits[split], self.tokenizer, self.head)
        return self._encoded[split]

    def drawn(self, samples: int, *, labelled: bool = False) -> list[dict[str, Any]]:
        """``samples`` of the training split drawn with the recipe's seed, all if there are fewer, as token ids."""
        encoded = self.encoded("train")
        if not labelled:
            encoded = encoded.remove_columns([name for name in self.task.answers if name in encoded.column_names])
        rows = np.random.default_rng(self.recipe.seed).permutation(len(encoded))[:samples]
        return [encoded[int(row)] for row in rows]

    def calibration(self, samples: int) -> list[Mapping[str, Any]]:
        """``samples`` inputs of the training split for a model to run on one at a time, drawn as by ``drawn``."""
        drawn, processor = self.drawn(samples), self.tokenizer
        return [sample for example in drawn for sample in self.task.samples(example, processor)][:samples]

    def batches(self, samples: int, size: int = 32, *, labelled: bool = False) -> list[dict[str, Any]]:
        """What ``drawn`` gives as padded tensors, ``size`` examples each, by length so that little is padding."""
        examples = sorted(self.drawn(samples, labelled=labelled), key=self.task.length)
        collate = self.task.collator(self.tokenizer, training=False)
        batches = [collate(examples[start : start + size]) for start in range(0, len(examples), size)]
        dropped = () if labelled else self.task.answers
        return [{name: tensor for name, tensor in batch.items() if name not in dropped} for batch in batches]

    @cached_property
    def rules(self) -> list[Rule]:
        return [rule.build() for rule in self.recipe.prune]

    def start_model(self) -> Any:
        """What training starts from; the same weights at each call."""
        spec, seed = self.recipe.model, self.recipe.seed
        return load_model(spec, self.head, seed=seed, tokenizer=self.tokenizer)

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
        model = self.recipe.model
        if model.name is not None and has_trained_head(model, self.head):
            # What is not trained here is taken for trained.
            if not self.trains or self.task.is_trained(model):
                return "start"
        return "teacher" if self.recipe.distill is not None else "trained"

    @property
    def compared_with(self) -> str | None:
        """The checkpoint that evaluate.baseline names, if it names one."""
        wanted = self.recipe.evaluate.baseline
        return None if wanted in NO_MODEL else wanted

    def path(self, name: str) -> Path:
        """A folder of this run."""
        return self.run.path / name
