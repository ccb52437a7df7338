"""`export`: in which forms the model is written, and of which shapes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from optkit.recipe.fields import Many, Part
from optkit.registry import names

DYNAMIC = "dynamic"


class ShapesSpec(Part):
    """The one shape that an exported model takes."""

    batch: int = Field(1, ge=1)
    seq: int = Field(128, ge=2)


def _shapes(value: Any) -> Any:
    if value is None or value == DYNAMIC:
        return DYNAMIC
    if isinstance(value, dict):
        return ShapesSpec.model_validate(value)
    if isinstance(value, ShapesSpec):
        return value
    raise ValueError(f"expected dynamic, or {{batch: 1, seq: 128}}, got {value!r}")


class ExportSpec(Part):
    """What is written for serving."""

    formats: Many[Literal[names("format")]] = Field(("openvino",), min_length=1)
    shapes: Annotated[Literal["dynamic"] | ShapesSpec, BeforeValidator(_shapes)] = DYNAMIC
    tokenizer: bool = False
    compact: bool | Literal["auto"] = "auto"

    @field_validator("formats")
    @classmethod
    def _openvino_is_measured(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        if "openvino" not in formats:
            raise ValueError(
                f"openvino is required, evaluation and report need it: write [openvino, {', '.join(formats)}]"
            )
        return tuple(dict.fromkeys(formats))
