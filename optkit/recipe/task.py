"""`task` in a recipe: what the model is to do, on which examples, and how that is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from optkit.recipe import inputs
from optkit.recipe.fields import (
    DATA_FILES,
    Many,
    Part,
    Revision,
    Split,
    Word,
    Wrong,
    check_endings,
    known,
    needs_name,
    refuse,
)
from optkit.tasks import PROBLEMS, TASKS


class DatasetSpec(Part):
    """Where the examples come from: the Hub (`name`), local `files` by split, or a generator (`generate`)."""

    name: Word | None = None
    config: Annotated[Word | None, needs_name("a dataset")] = None
    revision: Revision = "main"
    files: dict[Split, Word] | None = Field(None, min_length=1)
    generate: Annotated[Word, known("dataset")] | None = None
    train: int | None = Field(None, ge=1)
    validation: int | None = Field(None, ge=1)
    test: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=0)

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
            raise ValueError("two sources of data: write only one of `name`, `files` and `generate`")
        if info.field_name == "generate" and value is None and others == [None, None]:
            raise ValueError("no source of data: write one of `name`, `files` and `generate`")
        return value

    @field_validator("train", "validation", "test", "seed")
    @classmethod
    def _sizes_are_for_generators(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("generate", "") is None:
            raise ValueError("is read with `generate` only: remove it, or write `generate`")
        return value

    @property
    def splits(self) -> tuple[str, ...] | None:
        """The names of the splits as far as the recipe says them; None for a dataset from the Hub."""
        if self.files is not None:
            return tuple(self.files)
        return ("train", "validation", *(["test"] if self.test else [])) if self.generate else None


class _CommonKeys(Part):
    type: Annotated[str, known("task")]
    dataset: DatasetSpec
    text: Many[Word] = Field(("text",), min_length=1, max_length=2)
    label: Many[Word] = ("label",)
    problem: Literal["auto", *PROBLEMS] = "auto"
    metric: Many[Annotated[str, known("metric")]] = ()
    max_length: int = Field(128, ge=2)
    image: Word = "image"


#: Keys that single tasks add to the common ones, in the order of the tasks.
_OWN_KEYS = tuple(task.keys for task in TASKS.values() if task.keys is not None)
_OWN_NAMES = tuple(name for task in TASKS.values() for name in task.key_names)


class TaskSpec(*_OWN_KEYS, _CommonKeys):
    """What the model is to do, on which examples, and how that is measured."""

    @field_validator("text", "label", "problem", "max_length", "image", *_OWN_NAMES)
    @classmethod
    def _the_task_reads_it(cls, value: Any, info: ValidationInfo) -> Any:
        task = TASKS.get(info.data.get("type", ""))
        said = task and inputs.unread_key(task, info.field_name)
        if said and value != cls.model_fields[info.field_name].default:
            raise ValueError(said)
        return value

    @field_validator("text", "label")
    @classmethod
    def _as_many_columns_as_it_reads(cls, columns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        task = TASKS.get(info.data.get("type", ""))
        # A wrong `text` is a fault of its own: two columns fit every label.
        said = task and task.column_fault(info.field_name, columns, info.data.get("text", ("", "")))
        if said:
            raise ValueError(said)
        return columns

    @field_validator("metric")
    @classmethod
    def _metrics_of_the_task(cls, metric: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        task, problem = TASKS.get(info.data.get("type", "")), info.data.get("problem", "auto")
        if task is None:
            return metric
        usable = task.usable_metrics(problem, labelled=bool(info.data.get("label")))
        what = task.name if problem == "auto" else problem
        faults = [
            Wrong((i,), f"does not measure {what}: use {' or '.join(usable)}")
            for i, name in enumerate(metric)
            if name not in usable
        ]
        if faults:
            refuse(*faults)
        return metric or usable[:1]
