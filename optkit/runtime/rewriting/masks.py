"""The mask of an attention: what is added to its scores, or chosen by, before the Softmax.

The engine takes one mask of four dimensions, (batch or 1, heads or 1, seq or 1, seq), and a window of keys around each
query. The smaller the mask is the better: what only repeats or never leaves anything out is looked through, and what
the positions say is taken into the window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from optkit.ir.io import import_openvino
from optkit.runtime.rewriting.graph import SAME_NUMBERS, arguments, constant, key, kind, number
from optkit.runtime.rewriting.shapes import Shape, Shapes
from optkit.runtime.rewriting.windows import Window, window

if TYPE_CHECKING:
    import openvino

#: A score to which so much is added is lost in rounding: adding it is the same as replacing the score by any number.
_OVERWHELMING = -1e30
#: Whoever adds so much, the lowest number of float16, leaves a key out: no score makes up for it. So does who puts it
#: in the place of a score.
_EXCLUDING = -65504.0

_AND = {"BitwiseAnd", "LogicalAnd"}


@dataclass(frozen=True, eq=False)
class Part:
    """A mask as the graph has it.

    Attributes:
        value: boolean (True takes part) or float32 (added); with ``fill`` a condition.
        fill: replaces the scores where ``value`` is ``when``; None for no condition.
    """

    value: openvino.Output
    fill: float | None = None
    when: bool = True


@dataclass(frozen=True, eq=False)
class Mask:
    """The sum of ``parts``; a boolean one stands alone. In a program it serves so many ``heads`` and no others."""

    parts: tuple[Part, ...]
    heads: int

    @property
    def key(self) -> tuple:
        """Equal for masks that are the same."""
        return (self.heads, *((key(part.value), part.fill, part.when) for part in self.parts))


@dataclass(frozen=True, eq=False)
class Masking:
    """What leaves keys out: a mask, or None, and a window."""

    mask: Mask | None
    window: Window


def masking(parts: list[Part], scores: Shape, shapes: Shapes) -> Masking | str:
    """What ``parts`` are for scores (batch, heads, seq, seq); why not, if the engine has no such mask."""
    left, around = [], Window()
    for part in parts:
        rest, found = _without_window(_condition(part), scores, shapes)
        around = around.within(found)
        left += rest
    found = _mask(left, scores, shapes)
    return found if isinstance(found, str) else Masking(found, around)


def _condition(part: Part) -> Part:
    """A choice of two numbers that are added, as the choice that it is, so that True takes part where it can."""
    if part.fill is None and kind(part.value) == "Select":
        when, one, other = arguments(part.value)
        numbers = number(one), number(other)
        if None not in numbers and min(numbers) <= _EXCLUDING and max(numbers) == 0:
            part = Part(when, min(numbers), numbers[0] != 0)
    if part.fill is not None and part.when and kind(part.value) == "LogicalNot":
        return Part(arguments(part.value)[0], part.fill, when=False)
    return part


def _excludes(part: Part) -> bool:
    """Whether it is a boolean whose False leaves a key out."""
    if part.value.get_element_type().to_string() != "boolean":
        return False
    return part.fill is None or (part.fill <= _EXCLUDING and not part.when)


def _without_window(part: Part, scores: Shape, shapes: Shapes) -> tuple[list[Part], Window]:
    """What ``part`` leaves out beside a window, and the window."""
    if not _excludes(part):
        return [part], Window()
    rest, around = [], Window()
    for term in _terms(part.value):
        found = window(term, shapes) if (shapes[term] or ())[-2:] == scores[-2:] else None
        if found is None:
            rest.append(term)
        else:
            around = around.within(found)
    if around == Window() or len(rest) > 1:
        return [part], Window()
    return [replace(part, value=term) for term in rest], around


def _terms(value: openvino.Output) -> list[openvino.Output]:
    """Booleans that hold where ``value`` does, and there alone; those that hold everywhere left out."""
    if kind(value) in _AND and value.get_element_type().to_string() == "boolean":
        return [term for each in arguments(value) for term in _terms(each)]
    if kind(value) == "Broadcast" and len(arguments(value)[0].get_partial_shape()) == len(value.get_partial_shape()):
        return _terms(arguments(value)[0])
    return [] if _always_true(value) else [value]


def _mask(parts: list[Part], scores: Shape, shapes: Shapes) -> Mask | str | None:
    """The mask that ``parts`` are; None if they leave nothing out."""
    simple = []
    for part in parts:
        if part.fill is None and number(part.value) == 0 and part.value.get_element_type().to_string() == "f32":
            continue
        value = _simplified(part.value, shapes)
        if not _fits(shapes[value], scores):
            return f"a mask of shape {value.get_partial_shape()} does not fit (batch, heads, seq, seq)"
        simple.append(Part(value, part.fill, part.when))
    if len(simple) == 1 and simple[0].fill is not None and _excludes(simple[0]):
        simple = [Part(simple[0].value)]
    types = [part.value.get_element_type().to_string() for part in simple]
    if any(name != ("f32" if part.fill is None else "boolean") for name, part in zip(types, simple)):
        if types != ["boolean"]:
            return f"a mask of {' and '.join(types)}"
    return Mask(tuple(simple), scores[1]) if simple else None


def build(mask: Mask) -> openvino.Output:
    """The mask as one value of four dimensions, made of OpenVINO's nodes."""
    ops = import_openvino().opset13
    total = None
    for part in mask.parts:
        value = part.value
        missing = 4 - len(value.get_partial_shape())
        if missing:
            value = ops.unsqueeze(value, ops.constant(np.arange(missing))).output(0)
        if part.fill is not None:
            zero, fill = ops.constant(np.float32(0)), ops.constant(np.float32(part.fill))
            value = ops.select(value, *((fill, zero) if part.when else (zero, fill))).output(0)
        total = value if total is None else ops.add(total, value).output(0)
    return total


def overwhelming(value: openvino.Output) -> float | None:
    """What does when added to a score what ``value`` does in its place; None if that is not low enough to leave out a
    key. Where all keys of a query are left out, all have the same share either way.
    """
    fill = number(value)
    return min(fill, _OVERWHELMING) if fill is not None and fill <= _EXCLUDING else None


def _fits(shape: Shape | None, scores: Shape) -> bool:
    """Whether nothing that is known of ``shape`` speaks against it. What is not known, the engine checks."""
    if shape is None or not 1 <= len(shape) <= 4:
        return False
    padded = (1,) * (4 - len(shape)) + shape
    alike = all(size == 1 or size < 0 or score < 0 or size == score for size, score in zip(padded, scores))
    return alike and not _repeats_keys(padded, scores[-1])


def _repeats_keys(shape: Shape, keys: int) -> bool:
    return shape[-1] == 1 and keys != 1


def _simplified(value: openvino.Output, shapes: Shapes) -> openvino.Output:
    """What of ``value`` says everything, before it is repeated."""
    keys = shapes[value][-1] if shapes[value] else 1
    for inner in _equivalents(value):
        shape = shapes[inner]
        if shape and len(shape) <= 4 and not _repeats_keys(shape, keys):
            return _simplified(inner, shapes)
    return value


def _equivalents(value: openvino.Output) -> list[openvino.Output]:
    """Values that ``value`` repeats."""
    if kind(value) == "Broadcast" and value.get_node().get_attributes()["mode"] in ("numpy", "bidirectional"):
        return arguments(value)[:1]
    if kind(value) in _AND and value.get_element_type().to_string() == "boolean":
        left, right = arguments(value)
        return [right] * _always_true(left) + [left] * _always_true(right)
    return []


def _always_true(value: openvino.Output, depth: int = 16) -> bool:
    """Whether a boolean is true everywhere, as exporters' tests of a position being at least 0 are."""
    if depth == 0:
        return False
    if kind(value) in _AND:
        return all(_always_true(each, depth - 1) for each in arguments(value))
    if kind(value) in ("Unsqueeze", "Reshape", "Broadcast"):
        return _always_true(arguments(value)[0], depth - 1)
    if kind(value) == "GreaterEqual":
        left, right = arguments(value)
        limit = number(right)
        return limit is not None and limit <= 0 and _never_negative(left, depth - 1)
    array = constant(value, 4096)
    return array is not None and bool(np.all(array))


def _never_negative(value: openvino.Output, depth: int) -> bool:
    if depth == 0:
        return False
    inputs = arguments(value)
    if kind(value) == "Range":
        start, step = number(inputs[0]), number(inputs[2])
        return start is not None and step is not None and start >= 0 and step > 0
    if kind(value) in SAME_NUMBERS or kind(value) == "Gather":
        return _never_negative(inputs[0], depth - 1)
    if kind(value) == "Add":
        return all(_never_negative(each, depth - 1) for each in inputs)
    fixed = constant(value, 4096)
    return fixed is not None and bool(np.all(fixed >= 0))
