"""The recipe, format 1: every key, its default and its static checks. One frozen pydantic model for each part."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from optkit.recipe import inputs
from optkit.recipe.distill import DistillSpec
from optkit.recipe.export import ExportSpec
from optkit.recipe.fields import Many, Part, Revision, Split, Word, Wrong, known, refuse
from optkit.recipe.quantize import QuantizeSpec
from optkit.recipe.rules import RuleSpec
from optkit.recipe.task import TaskSpec
from optkit.recipe.training_arguments import read_train
from optkit.spelling import suggest

if TYPE_CHECKING:
    from optkit.pruning.config import Rule

FORMAT = 1
_REPOSITORY = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9](?:[\w.-]*\w)?/[A-Za-z0-9](?:[\w.-]*\w)?", re.ASCII)


def is_repository(name: str) -> bool:
    """Whether ``name`` is ORG/NAME as the Hub takes it, whose refusals may go further."""
    return len(name) <= 96 and not name.endswith(".git") and _REPOSITORY.fullmatch(name) is not None


class TokenizerSpec(Part):
    """A tokenizer trained on the text of the training split."""

    train: Literal["wordpiece"]
    vocab_size: int = Field(2000, ge=64)


def _tokenizer(value: Any) -> Any:
    if isinstance(value, dict):
        return TokenizerSpec.model_validate(value)
    if value is None or isinstance(value, TokenizerSpec) or (isinstance(value, str) and value):
        return value
    raise ValueError(f"expected a name, or {{train: wordpiece, vocab_size: 2000}}, got {value!r}")


class ModelSpec(Part):
    """What to start from: a pretrained model by `name`, or random weights of a `config`."""

    name: Word | None = None
    revision: Revision = "main"
    config: dict[str, Any] | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)
    tokenizer: Annotated[Word | TokenizerSpec | None, BeforeValidator(_tokenizer)] = None
    trust_remote_code: bool = False

    @field_validator("config")
    @classmethod
    def _name_or_config(cls, config: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        if "name" in info.data and (info.data["name"] is None) == (config is None):
            raise ValueError("write either `name`, for a pretrained model, or `config`, for random weights")
        if config is not None and not isinstance(config.get("model_type"), str):
            refuse(Wrong(("model_type",), "required: write the architecture, such as bert"))
        return config

    @field_validator("overrides")
    @classmethod
    def _overrides_change_a_named_model(cls, overrides: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if overrides and info.data.get("config") is not None:
            raise ValueError("is for a model given by `name`: remove it, and change `config` itself")
        return overrides


class OneShotSpec(Part):
    """Which examples of the training split one-shot pruning looks at, how many at a time.

    With `train`, what the schedules begin `from` is pruned so before the first step.
    """

    samples: int = Field(512, ge=1)
    batch_size: int = Field(32, ge=1)


class EvaluateSpec(Part):
    """Where and against what the metric is measured."""

    splits: Many[Split] = Field(("validation",), min_length=1)
    baseline: Word = "auto"
    max_drop: float | None = Field(None, ge=0, le=100)


class BenchmarkSpec(Part):
    """The same inputs on each engine, and what they would cost at the `prices` in a file.

    Without ``seq``, inputs are as long as an exported shape says, else 128 tokens, or as many as the model takes.
    """

    batch: Many[Annotated[int, Field(ge=1)]] = Field((1,), min_length=1)
    seq: Many[Annotated[int, Field(ge=1)]] | None = Field(None, min_length=1)
    backends: Many[Annotated[str, known("backend")]] = Field(("torch", "openvino", "optkit"), min_length=1)
    prices: Word | None = None


class PublishSpec(Part):
    """Where on the Hub the result goes; nowhere unless it is said."""

    repo_id: str | None = None
    private: bool = False

    @field_validator("repo_id")
    @classmethod
    def _hub_id(cls, repo_id: str | None) -> str | None:
        if repo_id is not None and not is_repository(repo_id):
            raise ValueError(f"'{repo_id}' is not a repository name: write ORG/NAME")
        return repo_id


class Recipe(Part):
    """One whole job. `load_recipe` makes it from a file; `Recipe.model_validate` from a dictionary."""

    optkit: int = FORMAT
    name: str = "recipe"
    description: str = ""
    seed: int = Field(42, ge=0, lt=2**32)
    model: ModelSpec
    task: TaskSpec
    train: dict[str, Any] = Field(default_factory=dict)
    distill: DistillSpec | None = None
    prune: tuple[RuleSpec, ...] = Field((), strict=False)
    oneshot: OneShotSpec | None = None
    quantize: QuantizeSpec | None = None
    export: ExportSpec = ExportSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    benchmark: BenchmarkSpec | None = None
    publish: PublishSpec = PublishSpec()

    _source: Path | None = PrivateAttr(None)

    @property
    def source(self) -> Path | None:
        """The file this was read from; None when it was made in Python."""
        return self._source

    @property
    def trains(self) -> bool:
        """Whether there is any training to do; without it a model is pruned in one shot, or stays as it is."""
        return bool(self.train)

    def build_rules(self) -> list[Rule]:
        """The rules of `prune` for optkit.pruning."""
        return [rule.build() for rule in self.prune]

    def hash(self) -> str:
        """SHA-256 of what the recipe says, defaults written out and local paths replaced by what they hold."""
        from optkit.recipe.resolved import recipe_hash

        return recipe_hash(self)

    def resolved_yaml(self) -> str:
        """The recipe with nothing left to look up; loads to an equal recipe apart from local paths."""
        from optkit.recipe.resolved import resolved_yaml

        return resolved_yaml(self)

    def __eq__(self, other: object) -> bool:
        # What was read from two files is equal when the files say the same.
        return type(other) is type(self) and self.__dict__ == other.__dict__

    __hash__ = None

    @field_validator("optkit")
    @classmethod
    def _this_format(cls, number: int) -> int:
        if number != FORMAT:
            raise ValueError(f"recipe format {number} is unknown: write {FORMAT}, the format that this optkit reads")
        return number

    @field_validator("name")
    @classmethod
    def _safe_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise ValueError(
                f"'{name}' cannot name a folder: use letters, digits, '.', '_' and '-', a letter or digit first"
            )
        return name

    @field_validator("train")
    @classmethod
    def _training_arguments(cls, train: dict[str, Any]) -> dict[str, Any]:
        values, faults = read_train(train)
        if faults:
            refuse(*(Wrong((name,), said, of_key) for name, said, of_key in faults))
        return values

    @field_validator("distill")
    @classmethod
    def _texts_are_those_of_the_task(cls, distill: DistillSpec | None, info: ValidationInfo) -> DistillSpec | None:
        given, task = distill and distill.data and distill.data.text, info.data.get("task")
        if given and task is not None and len(given) != len(task.text):
            refuse(
                Wrong(
                    ("data", "text"), f"task.text has {len(task.text)} columns, and this has {len(given)}: name as many"
                )
            )
        return distill

    @field_validator("prune")
    @classmethod
    def _names_differ(cls, rules: tuple[RuleSpec, ...]) -> tuple[RuleSpec, ...]:
        rules = tuple(
            rule if rule.name else rule.model_copy(update={"name": f"rule{i}"}) for i, rule in enumerate(rules)
        )
        named = [rule.name for rule in rules]
        twice = [i for i, name in enumerate(named) if name in named[:i]]
        if twice:
            refuse(*(Wrong((i, "name"), f"two rules have the name '{named[i]}': rename one") for i in twice))
        return rules

    @field_validator("quantize")
    @classmethod
    def _something_to_do(cls, quantize: QuantizeSpec | None, info: ValidationInfo) -> QuantizeSpec | None:
        if quantize is None and info.data.get("prune") == ():
            raise ValueError("nothing to do: a recipe prunes, quantizes, or both, so write `prune` or `quantize`")
        return quantize

    @field_validator("evaluate")
    @classmethod
    def _splits_exist(cls, evaluate: EvaluateSpec, info: ValidationInfo) -> EvaluateSpec:
        there = info.data["task"].dataset.splits if "task" in info.data else None
        missing = {i: split for i, split in enumerate(evaluate.splits) if there is not None and split not in there}
        if missing:
            ways = {split: suggest(split, there) or f", only {', '.join(there)}" for split in missing.values()}
            refuse(*(Wrong(("splits", i), f"the dataset has no split '{s}'{ways[s]}") for i, s in missing.items()))
        return evaluate

    @model_validator(mode="after")
    def _fits_what_the_task_reads(self) -> Recipe:
        if wrong := inputs.faults(self):
            refuse(*wrong)
        return self
