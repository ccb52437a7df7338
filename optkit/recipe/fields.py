"""What the parts of a recipe share: the frozen base, shorthands, shares, spans, and faults with a place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from optkit.pruning.config import Span
from optkit.registry import names
from optkit.spelling import suggest

T = TypeVar("T")
DATA_FILES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


class Part(BaseModel):
    """A piece of a recipe: frozen, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)


class Wrong(NamedTuple):
    """A fault for `refuse`: where, below the checked field; what; whether the key is wrong rather than its value."""

    where: tuple[str | int, ...]
    said: str
    key: bool = False


def refuse(*faults: Wrong) -> NoReturn:
    """Raises every fault at once, from inside a validator."""
    lines = [
        InitErrorDetails(
            type=PydanticCustomError("bad_key" if wrong.key else "bad_value", "{said}", {"said": wrong.said}),
            loc=wrong.where,
            input=None,
        )
        for wrong in faults
    ]
    raise ValidationError.from_exception_data("recipe", lines)


class _Listed:
    """Takes a scalar as the list of it, and says so in the JSON Schema."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_before_validator_function(self.listed, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        array = handler(schema["schema"])
        return {"anyOf": [array["items"], array]}

    @staticmethod
    def listed(value: Any) -> Any:
        return [value] if isinstance(value, (str, int, float)) else value


def check_endings(files: Iterable[tuple[str | int, str]], kinds: Sequence[str]) -> None:
    """Refuses files, each with its key or place in the list, whose ending is none of ``kinds``."""
    faults = [
        Wrong((place,), f"unknown file type '{PurePath(path).suffix}': use one of {', '.join(kinds)}")
        for place, path in files
        if PurePath(path).suffix.lower() not in kinds
    ]
    if faults:
        refuse(*faults)


def as_share(value: Any) -> Any:
    """``N%`` as a fraction; anything else as it is."""
    if isinstance(value, str) and (percent := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip())):
        return float(percent[1]) / 100
    return value


def _span(value: Any) -> Span:
    if isinstance(value, (str, int, float, Span)):
        return Span.parse(value)
    raise ValueError("expected a part of training: 5%, a number of steps, or 1ep")


def span_out(value: Any) -> Any:
    """A span as plain data that reads back exactly: a share as a fraction, steps whole, epochs with ``ep``."""
    if not isinstance(value, Span):
        return value
    if value.unit == "epochs":
        return f"{value.value:.15f}".rstrip("0").rstrip(".") + "ep"
    return float(value.value) if value.unit == "share" else int(value.value)


Many = Annotated[tuple[T, ...], Strict(False), _Listed()]
"""A list that may be written as its only element."""

Share = Annotated[float, BeforeValidator(as_share, json_schema_input_type=float | str)]
"""A fraction, or ``N%``."""

SpanField = Annotated[Span, BeforeValidator(_span, json_schema_input_type=str | int | float)]
"""A part of training: ``5%`` or a fraction, optimizer steps, or ``1ep``."""

Word = Annotated[str, Field(min_length=1)]
Revision = Annotated[Word, BeforeValidator(lambda v: "main" if v is None else v, json_schema_input_type=str | None)]
Split = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]


def check_pattern(pattern: str) -> str:
    """``pattern``, a glob or ``re:`` and a regular expression, if it can match anything."""
    if not pattern:
        raise ValueError("an empty pattern matches nothing: write a name, or a glob such as '*.attention.*'")
    try:
        re.compile(pattern[3:] if pattern.startswith("re:") else "")
    except re.error as error:
        raise ValueError(f"'{pattern}' is not a valid regular expression: {error}") from None
    return pattern


def known(kind: str) -> BeforeValidator:
    """A check that a word is one of the registry's ``kind``."""

    def check(value: Any) -> Any:
        choices = names(kind)
        if isinstance(value, str) and value not in choices:
            raise ValueError(f"unknown {kind} '{value}'{suggest(value, choices) or ', one of ' + ', '.join(choices)}")
        return value

    return BeforeValidator(check, json_schema_input_type=Literal[names(kind)])


def needs_name(what: str) -> AfterValidator:
    """A check that `name` was given before the value: ``what``, such as texts, is read from the Hub."""

    def check(value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("name", "") is None:
            raise ValueError(f"is read with `name` only, for {what} of the Hub: remove it, or write `name`")
        return value

    return AfterValidator(check)
