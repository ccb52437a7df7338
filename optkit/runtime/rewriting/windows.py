"""Masks that say by positions alone which keys a query sees: those before it, or those within a window around it.

A key j takes part for a query i where ``-left <= j - i <= right``. Exporters write it as a comparison of two ranges,
one along the queries and one along the keys; the engine then leaves out the other keys instead of reading a mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from optkit.runtime.rewriting.graph import SAME_NUMBERS, arguments, integers, kind, number
from optkit.runtime.rewriting.shapes import Shapes

if TYPE_CHECKING:
    import openvino

#: Comparisons of a with b as those of b with a.
_TURNED = {"Less": "Greater", "LessEqual": "GreaterEqual", "Greater": "Less", "GreaterEqual": "LessEqual"}
_QUERIES, _KEYS = -2, -1
#: Tokens that no two of a sequence are apart.
_ANY = 2**31


@dataclass(frozen=True)
class Window:
    """How far before and behind a query its keys may lie; None: any distance."""

    left: int | None = None
    right: int | None = None

    def within(self, other: Window) -> Window:
        """Both at once."""
        return Window(_least(self.left, other.left), _least(self.right, other.right))


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def window(value: openvino.Output, shapes: Shapes) -> Window | None:
    """The window that a boolean mask of (..., queries, keys) is; None if it is none, or one that no query is in."""
    comparison = kind(value)
    if comparison not in _TURNED:
        return None
    left, right = arguments(value)
    for one, other, how in ((left, right, comparison), (right, left, _TURNED[comparison])):
        if how not in ("Less", "LessEqual"):
            continue
        strict = how == "Less"
        limit = _scalar(other)
        if kind(one) == "Abs" and limit is not None:
            found = _difference(arguments(one)[0], shapes)
            # |i - j + offset|: only one that lies evenly around the query is written so.
            return _checked(limit - strict, limit - strict) if found == 0 else None
        first, second = _positions(one, shapes), _positions(other, shapes)
        if first is None or second is None:
            return None
        # first.offset + its index <= second.offset + its index
        distance = second.offset - first.offset - strict
        if (first.axis, second.axis) == (_KEYS, _QUERIES):
            return _checked(None, distance)
        if (first.axis, second.axis) == (_QUERIES, _KEYS):
            return _checked(distance, None)
    return None


def _checked(left: int | None, right: int | None) -> Window | None:
    if min(left or 0, right or 0) < 0:
        return None
    return Window(*(None if each is None or each >= _ANY else each for each in (left, right)))


@dataclass(frozen=True)
class _Positions:
    """``offset`` plus the index along ``axis``, counted from the last."""

    offset: int
    axis: int


def _difference(value: openvino.Output, shapes: Shapes) -> int | None:
    """The offset of a difference of positions, of queries and of keys, whichever comes first."""
    if kind(value) != "Subtract":
        return None
    one, other = (_positions(each, shapes) for each in arguments(value))
    if one is None or other is None or {one.axis, other.axis} != {_QUERIES, _KEYS}:
        return None
    return one.offset - other.offset


def _positions(value: openvino.Output, shapes: Shapes, depth: int = 16) -> _Positions | None:
    """What ``value`` counts, if it counts along one axis."""
    inputs, operation = arguments(value), kind(value)
    if depth == 0 or not value.get_element_type().is_integral():
        return None
    if operation == "Range":
        start, step = number(inputs[0]), number(inputs[2])
        return _Positions(int(start), _KEYS) if start is not None and start.is_integer() and step == 1 else None
    if operation in ("Add", "Subtract"):
        for data, fixed in (inputs, inputs[::-1])[: 2 if operation == "Add" else 1]:
            shift = _scalar(fixed)
            inner = None if shift is None else _positions(data, shapes, depth - 1)
            if inner is not None:
                return _Positions(inner.offset + (shift if operation == "Add" else -shift), inner.axis)
        return None
    if operation not in SAME_NUMBERS:
        return None
    inner, shape = _positions(inputs[0], shapes, depth - 1), shapes[value]
    if inner is None or shape is None:
        return None
    long = [axis for axis, size in enumerate(shape) if size != 1]
    return _Positions(inner.offset, long[0] - len(shape)) if len(long) == 1 else None


def _scalar(value: openvino.Output, depth: int = 8) -> int | None:
    """A single whole number: a constant, or one taken of a range at a fixed place."""
    if (fixed := number(value)) is not None:
        return int(fixed) if fixed.is_integer() else None
    inputs, operation = arguments(value), kind(value)
    if operation in SAME_NUMBERS and depth:
        return _scalar(inputs[0], depth - 1)
    if operation == "Gather" and kind(inputs[0]) == "Range":
        start, step = number(arguments(inputs[0])[0]), number(arguments(inputs[0])[2])
        place = integers(inputs[1])
        if start is None or step is None or not place or len(place) != 1 or place[0] < 0:
            return None
        return int(start + place[0] * step) if (start + place[0] * step).is_integer() else None
    return None
