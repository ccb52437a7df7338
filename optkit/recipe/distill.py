"""`distill`: what the student learns from a teacher, and on which texts beside the labelled ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    field_validator,
    model_validator,
)

from optkit.recipe.fields import (
    DATA_FILES,
    Many,
    Part,
    Revision,
    Share,
    Split,
    Word,
    Wrong,
    check_endings,
    needs_name,
    refuse,
)

if TYPE_CHECKING:
    from optkit.pruning.distillation.pooled import PooledDistillation
    from optkit.pruning.distillation.states import AttentionDistillation, HiddenDistillation


def _layers(value: Any) -> Any:
    """Which layers copy which: ``auto``, ``last``, a tuple of layers, or a dictionary of layer to layer."""
    number = lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0  # noqa: E731
    if isinstance(value, dict) and value:
        pairs = {int(k) if str(k).isdecimal() else k: v for k, v in value.items()}
        if all(number(layer) for pair in pairs.items() for layer in pair):
            return pairs
    elif isinstance(value, (list, tuple)) and value and all(map(number, value)):
        return tuple(value)
    elif value in ("auto", "last"):
        return value
    raise ValueError(
        "expected auto, last, a list of the student's layers, or a mapping of student to teacher layers, such as "
        "{3: 6, 6: 12}; layers count from 1"
    )


LayersField = Annotated[
    Any, BeforeValidator(_layers, json_schema_input_type=Literal["auto", "last"] | list[int] | dict[str, int])
]


class HiddenSpec(Part):
    """Copy hidden states: mean squared error, at a learned projection where widths differ."""

    weight: float = Field(1.0, gt=0)
    layers: LayersField = "auto"
    normalize: bool = False

    def build(self) -> HiddenDistillation:
        """What optkit.pruning takes; imports torch."""
        from optkit.pruning.distillation.states import HiddenDistillation

        return HiddenDistillation(self.weight, self.layers, self.normalize)


class AttentionSpec(Part):
    """Copy attention: relations of queries, keys and values, or the attention maps of each head."""

    weight: float = Field(1.0, gt=0)
    layers: LayersField = "last"
    of: Literal["relations", "maps"] = "relations"

    def build(self) -> AttentionDistillation:
        """What optkit.pruning takes; imports torch."""
        from optkit.pruning.distillation.states import AttentionDistillation

        return AttentionDistillation(self.weight, self.layers, self.of)


class PooledSpec(Part):
    """Copy sentences: hidden states averaged over tokens, of the last teacher, whatever its tokenizer."""

    weight: float = Field(1.0, gt=0)
    layers: LayersField = "last"
    of: Literal["relations", "states"] = "relations"

    def build(self) -> PooledDistillation:
        """What optkit.pruning takes; imports torch."""
        from optkit.pruning.distillation.pooled import PooledDistillation

        return PooledDistillation(self.weight, self.layers, self.of)


def _weighted(value: Any) -> Any:
    if isinstance(value, (str, bool, list)):
        raise ValueError(f"expected a weight such as 1.0, or a mapping such as {{weight: 1.0}}, got {value!r}")
    return {"weight": value} if isinstance(value, (int, float)) else value


_Weighted = BeforeValidator(_weighted)


class UnlabelledSpec(Part):
    """Texts without labels, which the teacher alone judges: from `files` or the Hub (`name`), and made by `augment`."""

    name: Word | None = None
    config: Annotated[Word | None, needs_name("texts")] = None
    revision: Revision = "main"
    split: Split = "train"
    files: Many[Word] | None = Field(None, min_length=1)
    text: Many[Word] | None = Field(None, min_length=1, max_length=2)
    augment: int = Field(0, ge=0)

    @field_validator("text")
    @classmethod
    def _columns_are_of_a_source(cls, text: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if text is not None and [info.data.get(name, "") for name in ("name", "files")] == [None, None]:
            raise ValueError("is read with `files` or `name` only, `augment` takes the columns of task.text: remove it")
        return text

    @field_validator("files")
    @classmethod
    def _endings(cls, files: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if files is not None and info.data.get("name") is not None:
            raise ValueError("two sources of texts: write only one of `name` and `files`")
        check_endings(enumerate(files or ()), (".txt", *DATA_FILES))
        return files

    @field_validator("augment")
    @classmethod
    def _something(cls, augment: int, info: ValidationInfo) -> int:
        there = [info.data.get(name, "") for name in ("name", "files")]
        if augment == 0 and there == [None, None]:
            raise ValueError(
                "no source of texts: write `files`, `name`, or `augment`, the number of altered copies of each example"
            )
        return augment


class TeacherSpec(Part):
    """A teacher: a model on the Hub or in a folder, and what its logits count beside those of the others."""

    name: Word
    revision: Revision = "main"
    weight: float = Field(1.0, ge=0)


_NAME: TypeAdapter[str] = TypeAdapter(Word)
_LIST: TypeAdapter[tuple[TeacherSpec, ...]] = TypeAdapter(
    Annotated[
        tuple[Annotated[TeacherSpec, BeforeValidator(lambda v: {"name": v} if isinstance(v, str) else v)], ...],
        Field(strict=False, min_length=1),
    ]
)


def _teacher(value: Any) -> str | tuple[TeacherSpec, ...]:
    if isinstance(value, dict):
        raise ValueError("expected a name, or a list such as [{name: A}, {name: B, weight: 2}], got a mapping")
    if isinstance(value, (list, tuple)):
        return _LIST.validate_python(value)
    return _NAME.validate_python(value, strict=True)


class DistillSpec(Part):
    """Learn from a teacher: loss = (1 - weight) * task + weight * T^2 * KL(teacher || student) + hidden + attention.

    Of several teachers the logits are averaged by their weights; states are those of the first, pooled states those of
    the last.
    """

    teacher: Annotated[
        Word | tuple[TeacherSpec, ...],
        PlainValidator(_teacher, json_schema_input_type=Word | list[Word | TeacherSpec]),
    ]
    revision: Revision = "main"
    temperature: float = Field(2.0, gt=0)
    weight: Share = Field(0.9, ge=0, le=1)
    hidden: Annotated[HiddenSpec, _Weighted] | None = None
    attention: Annotated[AttentionSpec, _Weighted] | None = None
    pooled: Annotated[PooledSpec, _Weighted] | None = None
    data: UnlabelledSpec | None = None

    @property
    def of_states(self) -> bool:
        """Whether the teacher has to be run beside the student, on the same tokens."""
        return self.hidden is not None or self.attention is not None

    @property
    def teachers(self) -> dict[str, TeacherSpec]:
        """The teachers in their order, under the recipe's keys for them."""
        if isinstance(self.teacher, str):
            return {"distill.teacher": TeacherSpec(name=self.teacher, revision=self.revision)}
        return {f"distill.teacher.{i}": spec for i, spec in enumerate(self.teacher)}

    @property
    def first(self) -> tuple[str, TeacherSpec]:
        """The teacher whose states count, and the recipe's key for it."""
        return next(iter(self.teachers.items()))

    @property
    def last(self) -> tuple[str, TeacherSpec]:
        """The teacher whose pooled states count, and the recipe's key for it."""
        return list(self.teachers.items())[-1]

    @field_validator("revision")
    @classmethod
    def _of_one_name(cls, revision: str, info: ValidationInfo) -> str:
        if revision != "main" and not isinstance(info.data.get("teacher", ""), str):
            raise ValueError("is of a single name: write it beside each name of the list")
        return revision

    @model_validator(mode="after")
    def _each_teacher_counts(self) -> DistillSpec:
        specs = list(self.teachers.values())
        used = {0} if self.of_states else set()
        used |= {len(specs) - 1} if self.pooled is not None else set()
        idle = [i for i, spec in enumerate(specs) if not spec.weight and i not in used]
        if idle:
            said = "0, so this teacher is never asked: remove it"
            refuse(*(Wrong(("teacher", i, "weight"), said) for i in idle))
        if not any(spec.weight for spec in specs):
            said = "0, so no teacher's logits count: give one a weight, or leave logits out by distill.weight: 0"
            refuse(Wrong(("teacher", 0, "weight"), said))
        return self
