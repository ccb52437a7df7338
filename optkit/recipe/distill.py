"""`distill`: what the student learns from a teacher, and on which texts beside the labelled ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from optkit.recipe.fields import DATA_FILES, Many, Part, Revision, Share, Split, Word, check_endings, needs_name

if TYPE_CHECKING:
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


class DistillSpec(Part):
    """Learn from a teacher: loss = (1 - weight) * task + weight * T^2 * KL(teacher || student) + hidden + attention."""

    teacher: Word
    revision: Revision = "main"
    temperature: float = Field(2.0, gt=0)
    weight: Share = Field(0.9, ge=0, le=1)
    hidden: Annotated[HiddenSpec, _Weighted] | None = None
    attention: Annotated[AttentionSpec, _Weighted] | None = None
    data: UnlabelledSpec | None = None

    @property
    def of_states(self) -> bool:
        """Whether the teacher has to be run beside the student, on the same tokens."""
        return self.hidden is not None or self.attention is not None
