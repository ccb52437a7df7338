"""Holds a tree against the schema, and says every fault in the words of a recipe, at the place it was written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import ValidationError

from optkit.recipe.faults import Fault, Mark
from optkit.recipe.fields import Part
from optkit.recipe.rules import CRITERION_SPECS
from optkit.recipe.schema import Recipe
from optkit.recipe.tree import Node
from optkit.spelling import suggest


def check(root: Node, faults: list[Fault], default_name: str) -> Recipe | None:
    """The recipe that ``root`` says; None after appending every fault of it."""
    try:
        return Recipe.model_validate({"name": default_name, **root.plain()})
    except ValidationError as error:
        # A revision or a column may look like a number: where text is due, the text as written counts.
        numbers = [
            place.node
            for fault in error.errors()
            if fault["type"] == "string_type" and (place := _Place(root, fault["loc"])).is_number()
        ]
        for node in numbers:
            node.value = node.text
        if numbers:
            return check(root, faults, default_name)
        faults += [
            fault
            for fault in (_fault(root, details) for details in error.errors())
            if fault is not None and fault not in faults
        ]
        return None


class _Place:
    """Where a validation error lies in the tree.

    Attributes:
        path: as ``--set`` writes it.
        node: the value, or the nearest thing around it that was written.
        entry: the nearest enclosing ``key: value``; None at the root.
        exact: whether the value itself was written.
    """

    def __init__(self, root: Node, location: Sequence[str | int]):
        self.node, self.entry, self.exact, self.broken = root, None, True, root.broken
        parts: list[str] = []
        for i, step in enumerate(location):
            value = self.node.value
            if step == "[key]" or (i and location[i - 1] == "criterion" and step in CRITERION_SPECS):
                continue
            if self.exact and isinstance(value, dict) and step in value:
                self.entry = value[step]
                self.node = self.entry.node
            elif self.exact and isinstance(value, list) and isinstance(step, int) and step < len(value):
                self.node, self.entry = value[step], None
            elif isinstance(step, int):
                continue
            else:
                self.exact = False
            self.broken = self.broken or self.node.broken
            parts.append(str(step))
        self.path = ".".join(parts)

    def is_number(self) -> bool:
        value = self.node.value
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return self.exact and number and self.node.text is not None

    def mark(self, on_key: bool) -> Mark:
        """The value when it is a scalar, else the key that holds it."""
        inside = isinstance(self.node.value, (dict, list)) or self.node.text == ""
        return self.entry.key if self.entry and (on_key or inside or not self.exact) else self.node.mark


def _fault(root: Node, error: Any) -> Fault | None:
    place = _Place(root, error["loc"])
    if place.broken:
        return None
    kind = error["type"]
    if kind == "too_short" and place.node.value:
        return None  # Elements are there; each that was refused has a fault of its own.
    on_key = kind in ("extra_forbidden", "missing", "bad_key") or error["loc"][-1:] == ("[key]",)
    message = _unknown_key(error["loc"]) if kind == "extra_forbidden" else _message(error, place.node)
    return Fault(place.mark(on_key), place.path, message, excerpt=place.exact or place.node is not root)


def _unknown_key(location: Sequence[str | int]) -> str:
    parts: list[type[Part]] = [Recipe]
    for step in location[:-1]:
        if isinstance(step, int):
            continue
        if step in CRITERION_SPECS and CRITERION_SPECS[step] in parts:
            parts = [CRITERION_SPECS[step]]
        else:
            parts = [inner for part in parts for inner in _parts_in(_keys(part).get(step))]
    keys = [key for part in parts for key in _keys(part)] + (["extends"] if len(location) == 1 else [])
    return f"unknown key{suggest(str(location[-1]), keys) or ', one of ' + ', '.join(keys)}"


def _keys(part: type[Part]) -> dict[str, Any]:
    return {field.alias or name: field.annotation for name, field in part.model_fields.items()}


def _parts_in(annotation: Any) -> list[type[Part]]:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    return [part for inner in get_args(annotation) for part in _parts_in(inner)]


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a name or a mapping",
}
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _message(error: Any, node: Node) -> str:
    """What a pydantic error says, in the words of a recipe."""
    kind, context, got = error["type"], error.get("ctx", {}), _shown(error["input"])
    if kind == "value_error":
        return str(context["error"])
    if kind in _EXPECTED:
        quote = kind == "string_type" and isinstance(node.value, (list, dict))
        hint = "; quote a pattern that begins with * or [ or holds ': '" if quote else ""
        return f"expected {_EXPECTED[kind]}, got {got}{hint}"
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"must be {words} {context[bound]:g}, got {got}"
    if kind == "literal_error":
        choices = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        near = suggest(str(error["input"]), choices)
        return f"unknown value {got}{near or ', one of ' + ', '.join(choices)}"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    if kind == "too_long":
        return f"at most {context['max_length']} elements, got {context['actual_length']}"
    if kind == "string_pattern_mismatch":
        return f"{got} is not a valid name: use letters, digits, '_' and '-', a letter first"
    if kind == "union_tag_not_found":
        return "a criterion needs its `name`, such as {name: magnitude}"
    if kind == "missing":
        return "required, but missing: write it"
    return error["msg"]


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list, tuple)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    return repr(value)
