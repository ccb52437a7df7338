"""`task` in a recipe: what the model is to do, on which examples, and how that is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from optkit.recipe import inputs
from optkit.recipe.fields import DATA_FILES, Many, Part, Revision, Split, Word, Wrong, check_endings, known, refuse
from optkit.registry import PROBLEMS, TASK_METRICS, UNLABELLED_METRICS


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
