"""Reads a report.json of this or an earlier release, and refuses one that is damaged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from optkit.errors import OptkitError, UsageError, why_not
from optkit.json_files import read_json
from optkit.report.conclusions import conclude
from optkit.report.migrations import migrate
from optkit.report.schema import Facts, Report

REPORT = "report.json"
Kind = TypeVar("Kind", bound=Facts)
#: Pydantic's names of faults, and the words for them in messages.
_FAULTS = {
    "string_type": "is no text",
    "dict_type": "is no mapping",
    "model_type": "is no mapping",
    "model_attributes_type": "is no mapping",
    "list_type": "is no list",
    "bool_type": "is neither true nor false",
    "int_type": "is no whole number",
    "float_type": "is no number",
    "finite_number": "is no number",
    "missing": "is missing",
}


def load_report(folder: str | Path) -> Report:
    """The report in the run folder ``folder``.

    Raises:
        UsageError: if there is none.
        OptkitError: if it cannot be read, is of a newer optkit, or holds a value of a wrong type: the line names it.
    """
    file = Path(folder) / REPORT
    if not file.is_file():
        why = why_not(folder, f"no {REPORT} here")
        raise UsageError(f"{folder}: {why}: name the folder of a run that `optkit run` finished")
    try:
        data = read_json(file)
    except (OSError, ValueError) as error:
        raise OptkitError(f"{file}: not a report that this optkit can read: run the recipe again") from error
    return parse_report(data, str(file))


def parse_report(data: Mapping[str, Any] | Report, where: str = "the report") -> Report:
    """The report that ``data``, as json.load gives it, holds, with the conclusions where an earlier release drew none.

    Args:
        where: it is from, for messages.

    Raises:
        OptkitError: if it is of a newer optkit, or holds a value of a wrong type: the line names it.
    """
    if isinstance(data, Report):
        return data
    found = _migrated(data, where)
    whole = all(key in found for key in Report.model_fields.keys() - Facts.model_fields.keys())
    return _validated(Report, found, where) if whole else conclude(_validated(Facts, found, where), None)


def parse_facts(data: Mapping[str, Any], where: str = "the report") -> Facts:
    """The facts in ``data``, see ``parse_report``."""
    return _validated(Facts, _migrated(data, where), where)


def _migrated(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise OptkitError(f"{where}: not a report that this optkit can read: run the recipe again")
    try:
        return migrate(data)
    except ValueError as error:
        raise OptkitError(f"{where}: a report of another optkit: it {error}: run the recipe again") from None


def _validated(kind: type[Kind], data: dict[str, Any], where: str) -> Kind:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise OptkitError(f"{where}: damaged or edited: {_fault(error)}: run the recipe again") from None


def _fault(error: ValidationError) -> str:
    """The first fault: the value's key, and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"] if part != "[key]")
    kind, context = first["type"], first.get("ctx", {})
    if kind == "value_error":
        return f"{key}: {context['error']}" if key else str(context["error"])
    value = first["input"]
    if isinstance(value, float) and not math.isfinite(value):
        return f"{key} is no number"
    limits = {"greater_than_equal": ("is below", "ge"), "greater_than": ("is not above", "gt")}
    if kind in limits:
        said, name = limits[kind]
        return f"{key} {said} {context[name]:g}"
    return f"{key} {_FAULTS.get(kind, first['msg'][:1].lower() + first['msg'][1:])}"
