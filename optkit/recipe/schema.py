"""The recipe, format 1: every key, its default and its static checks. One frozen pydantic model for each part."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from optkit.recipe import inputs
from optkit.recipe.distill import DistillSpec
from optkit.recipe.export import ExportSpec
from optkit.recipe.fields import DATA_FILES, Many, Part, Revision, Split, Word, Wrong, check_endings, refuse
from optkit.recipe.quantize import QuantizeSpec
from optkit.recipe.rules import RuleSpec
from optkit.recipe.training_arguments import read_train
from optkit.registry import PROBLEMS, TASK_METRICS, UNLABELLED_METRICS, names, suggest

FORMAT = 1
_REPOSITORY = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9](?:[\w.-]*\w)?/[A-Za-z0-9](?:[\w.-]*\w)?", re.ASCII)


def is_repository(name: str) -> bool:
    """Whether ``name`` is ORG/NAME as the Hub takes it, whose refusals may go further."""
    return len(name) <= 96 and not name.endswith(".git") and _REPOSITORY.fullmatch(name) is not None


def known(kind: str) -> BeforeValidator:
    """A check that a word is one of the registry's ``kind``."""

    def check(value: Any) -> Any:
        choices = names(kind)
        if isinstance(value, str) and value not in choices:
            raise ValueError(f"unknown {kind} '{value}'{suggest(value, choices) or ', one of ' + ', '.join(choices)}")
        return value

    return BeforeValidator(check, json_schema_input_type=Literal[names(kind)])


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
            raise ValueError("write `name` for a pretrained model or `config` for random weights, one of the two")
        if config is not None and not isinstance(config.get("model_type"), str):
            refuse(Wrong(("model_type",), "required, such as bert"))
        return config

    @field_validator("overrides")
    @classmethod
    def _overrides_change_a_named_model(cls, overrides: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if overrides and info.data.get("config") is not None:
            raise ValueError("change `config` itself; `overrides` are for a named model")
        return overrides


class DatasetSpec(Part):
    """Where the examples come from: the Hub (`name`), local `files` by split, or a generator (`generate`)."""

    name: Word | None = None
    config: Word | None = None
    revision: Revision = "main"
    files: dict[Split, Word] | None = Field(None, min_length=1)
    generate: Annotated[Word, known("dataset")] | None = None
    train: int | None = Field(None, ge=1)
    validation: int | None = Field(None, ge=1)
    test: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=0)

    @field_validator("config")
    @classmethod
    def _configs_are_of_the_hub(cls, config: str | None, info: ValidationInfo) -> str | None:
        if config is not None and info.data.get("name", "") is None:
            raise ValueError("belongs to a dataset by `name`")
        return config

    @field_validator("files")
    @classmethod
    def _endings(cls, files: dict[str, str] | None) -> dict[str, str] | None:
        # What has no ending is a folder, and a folder may have one.
        named = (
            (split, path) for split, path in (files or {}).items() if Path(path).suffix and not Path(path).is_dir()
        )
        check_endings(named, DATA_FILES)
        return files

    @field_validator("files", "generate")
    @classmethod
    def _one_source(cls, value: Any, info: ValidationInfo) -> Any:
        others = [info.data[name] for name in ("name", "files") if name in info.data]
        if value is not None and any(other is not None for other in others):
            raise ValueError("write only one of `name`, `files` and `generate`")
        if info.field_name == "generate" and value is None and others == [None, None]:
            raise ValueError("write one of `name`, `files` and `generate`")
        return value

    @field_validator("train", "validation", "test", "seed")
    @classmethod
    def _sizes_are_for_generators(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("generate", "") is None:
            raise ValueError("belongs to a dataset by `generate`")
        return value

    @property
    def splits(self) -> tuple[str, ...] | None:
        """The names of the splits as far as the recipe says them; None for a dataset from the Hub."""
        if self.files is not None:
            return tuple(self.files)
        return ("train", "validation", *(["test"] if self.test else [])) if self.generate else None


class TaskSpec(Part):
    """What the model is to do, on which examples, and how that is measured."""

    type: Annotated[str, known("task")]
    dataset: DatasetSpec
    text: Many[Word] = Field(("text",), min_length=1, max_length=2)
    label: Many[Word] = ("label",)
    problem: Literal["auto", *PROBLEMS] = "auto"
    metric: Many[Annotated[str, known("metric")]] = ()
    max_length: int = Field(128, ge=2)
    image: Word = "image"
    pooling: Literal["mean", "cls", "lasttoken", "max"] | None = None
    stride: int | None = Field(None, ge=0)
    max_answer_length: int | None = Field(None, ge=1)
    null_threshold: float | None = None

    @field_validator("text", "label", "problem", "max_length", "image", "pooling", *inputs.ANSWER_KEYS)
    @classmethod
    def _the_task_reads_it(cls, value: Any, info: ValidationInfo) -> Any:
        said = inputs.task_fault(info.data.get("type"), info.field_name)
        if said and value != cls.model_fields[info.field_name].default:
            raise ValueError(said)
        return value

    @field_validator("text", "label")
    @classmethod
    def _as_many_columns_as_it_reads(cls, columns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if said := inputs.column_fault(info.data.get("type"), info.field_name, columns):
            raise ValueError(said)
        if info.field_name == "label" and (said := inputs.pair_fault(info.data.get("type"), info.data, columns)):
            raise ValueError(said)
        return columns

    @field_validator(*inputs.ANSWER_KEYS)
    @classmethod
    def _long_texts_are_read_in_windows(cls, value: Any, info: ValidationInfo) -> Any:
        longest = info.data.get("max_length")
        if info.data.get("type") != "question-answering" or longest is None:
            return value
        if value is None:
            return {"stride": longest // 3, "max_answer_length": 30, "null_threshold": 0.0}[info.field_name]
        if info.field_name == "stride" and 2 * value >= longest:
            said = f"{value} tokens shared by two windows of {longest} (task.max_length)"
            raise ValueError(f"{said}: it has to be less than half, since a question may take the other half")
        return value

    @field_validator("metric")
    @classmethod
    def _metrics_of_the_task(cls, metric: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        kind, problem = info.data.get("type"), info.data.get("problem", "auto")
        usable = TASK_METRICS.get(kind, ()) if problem == "auto" else PROBLEMS[problem]
        if kind == "feature-extraction":
            labelled = bool(info.data.get("label"))
            usable = tuple(name for name in usable if labelled == (name not in UNLABELLED_METRICS))
        faults = [
            Wrong((i,), f"does not measure {kind if problem == 'auto' else problem}: use {' or '.join(usable)}")
            for i, name in enumerate(metric)
            if usable and name not in usable
        ]
        if faults:
            refuse(*faults)
        return metric or usable[:1]


class OneShotSpec(Part):
    """Which examples of the training split one-shot pruning looks at, how many at a time."""

    samples: int = Field(512, ge=1)
    batch_size: int = Field(32, ge=1)


class EvaluateSpec(Part):
    """Where and against what the metric is measured."""

    splits: Many[Split] = Field(("validation",), min_length=1)
    baseline: Word = "auto"
    max_drop: float | None = Field(None, ge=0, le=100)


class BenchmarkSpec(Part):
    """The same inputs on each engine, and what they would cost at the `prices` in a file."""

    batch: Many[Annotated[int, Field(ge=1)]] = Field((1,), min_length=1)
    seq: Many[Annotated[int, Field(ge=1)]] = Field((128,), min_length=1)
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
            raise ValueError(f"'{repo_id}' names no repository: write ORG/NAME")
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
            raise ValueError(f"recipe format {number}, and this optkit reads format {FORMAT}")
        return number

    @field_validator("name")
    @classmethod
    def _safe_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise ValueError(f"'{name}' is no safe folder name: use letters, digits, '.', '_' and '-', no '.' first")
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
            refuse(Wrong(("data", "text"), f"task.text has {len(task.text)} columns, and this {len(given)}"))
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
            refuse(*(Wrong((i, "name"), f"two rules are called '{named[i]}'") for i in twice))
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
