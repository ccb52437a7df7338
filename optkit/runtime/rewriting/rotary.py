"""Rotary position embeddings: pairs of a head's features turned by angles that grow with the token's position.

``x * cos + turned(x) * sin`` with tables (positions, d), where ``turned`` puts -x[j] in place of x[i] and x[i] in place
of x[j] for each pair (i, j): the two halves of a head, or neighbours (Su et al. 2021, https://arxiv.org/abs/2104.09864).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from optkit.ir.io import import_openvino
from optkit.runtime.rewriting.graph import arguments, attribute, integers, kind, number, structure

if TYPE_CHECKING:
    import openvino

    from optkit.runtime.rewriting.shapes import Shapes


@dataclass(frozen=True, eq=False)
class Rotation:
    """``source`` (..., d), turned by tables of as many dimensions.

    Attributes:
        interleaved: whether features 2i and 2i + 1 are a pair, else i and i + d / 2.
    """

    source: openvino.Output
    cosines: openvino.Output
    sines: openvino.Output
    interleaved: bool


@dataclass(frozen=True, eq=False)
class Table:
    """A table of cosines or sines as the graph has it, with an axis of size 1 for the heads.

    Attributes:
        value: (batch or 1, 1, seq, d), or with the heads' axis elsewhere.
        axis: of the heads.
        features: d.
    """

    value: openvino.Output
    axis: int
    features: int

    @property
    def key(self) -> tuple:
        """Equal for tables that are computed alike: some models make those of each layer anew."""
        return ("table", self.axis, structure(self.value))


def build(table: Table) -> openvino.Output:
    """The table as tokens (batch or 1, seq, d)."""
    ops = import_openvino().opset13
    return ops.squeeze(table.value, ops.constant([table.axis])).output(0)


def rotation(value: openvino.Output, shapes: Shapes) -> Rotation | None:
    """How ``value`` is a rotation; None if it is none."""
    if kind(value) != "Add":
        return None
    terms = arguments(value)
    for one, other in (terms, terms[::-1]):
        if kind(one) != "Multiply" or kind(other) != "Multiply":
            return None
        for turned, sines in _either_way(other):
            found = _turned(turned, shapes)
            if found is None:
                continue
            source, interleaved = found
            for kept, cosines in _either_way(one):
                if kept == source:
                    return Rotation(source, cosines, sines, interleaved)
    return None


def _either_way(value: openvino.Output) -> tuple[list[openvino.Output], list[openvino.Output]]:
    inputs = arguments(value)
    return inputs, inputs[::-1]


def _turned(value: openvino.Output, shapes: Shapes) -> tuple[openvino.Output, bool] | None:
    """(x, whether pairs are neighbours) if ``value`` is x with each pair turned by a quarter."""
    if kind(value) == "Concat":
        return _halves(value, shapes)
    if kind(value) == "Reshape":
        return _neighbours(value, shapes)
    return None


def _halves(value: openvino.Output, shapes: Shapes) -> tuple[openvino.Output, bool] | None:
    """``concat(-x[..., d/2:], x[..., :d/2])``."""
    parts, shape = arguments(value), shapes[value]
    if len(parts) != 2 or not shape or attribute(value, "axis") not in (-1, len(shape) - 1):
        return None
    negated = _negated(parts[0])
    second, first = negated and _cut(negated, shapes), _cut(parts[1], shapes)
    half = shape[-1] // 2
    if not first or not second or first.source != second.source or shapes[first.source] != shape or shape[-1] % 2:
        return None
    wanted = (range(half), range(half, 2 * half))
    return (first.source, False) if (first.features, second.features) == wanted else None


def _neighbours(value: openvino.Output, shapes: Shapes) -> tuple[openvino.Output, bool] | None:
    """``stack((-x[..., 1::2], x[..., ::2]), -1)`` in the shape of x."""
    stacked, shape = arguments(value)[0], shapes[value]
    apart = shapes[stacked]
    if kind(stacked) != "Concat" or not shape or not apart or apart != (*shape[:-1], shape[-1] // 2, 2):
        return None
    if attribute(stacked, "axis") not in (-1, len(apart) - 1):
        return None
    parts = [_without_last_axis(each, shapes) for each in arguments(stacked)]
    if len(parts) != 2 or None in parts or (negated := _negated(parts[0])) is None:
        return None
    odd, even = _cut(negated, shapes), _cut(parts[1], shapes)
    if not odd or not even or odd.source != even.source or shapes[odd.source] != shape:
        return None
    wanted = (range(1, shape[-1], 2), range(0, shape[-1], 2))
    return (odd.source, True) if (odd.features, even.features) == wanted else None


def _without_last_axis(value: openvino.Output, shapes: Shapes) -> openvino.Output | None:
    """x if ``value`` is x with an axis of size 1 behind its last."""
    if kind(value) not in ("Unsqueeze", "Reshape"):
        return None
    inner, outer = shapes[arguments(value)[0]], shapes[value]
    return arguments(value)[0] if inner and outer == (*inner, 1) else None


def _negated(value: openvino.Output) -> openvino.Output | None:
    """x if ``value`` is -x."""
    if kind(value) == "Negative":
        return arguments(value)[0]
    if kind(value) != "Multiply":
        return None
    return next((data for data, fixed in _either_way(value) if number(fixed) == -1), None)


@dataclass(frozen=True, eq=False)
class _Cut:
    """Some of the last axis of ``source``."""

    source: openvino.Output
    features: range


def _cut(value: openvino.Output, shapes: Shapes) -> _Cut | None:
    """What Slice, Split and VariadicSplit take of a last axis of known size."""
    source = arguments(value)[0] if arguments(value) else None
    shape = shapes[source] if source is not None else None
    if not shape or shape[-1] < 0:
        return None
    last, size = (-1, len(shape) - 1), shape[-1]
    if kind(value) == "Slice":
        start, stop, step, axes = (shapes.integers(each) for each in (*arguments(value)[1:], None, None)[:4])
        if not start or not stop or not step or not axes or len(axes) != 1 or axes[0] not in last or step[0] < 1:
            return None
        return _Cut(source, range(size)[start[0] : stop[0] : step[0]])
    if kind(value) in ("Split", "VariadicSplit") and (integers(arguments(value)[1]) or [None])[0] in last:
        sizes = [shapes[output] for output in value.get_node().outputs()]
        if any(each is None or each[-1] < 0 for each in sizes):
            return None
        begin = sum(each[-1] for each in sizes[: value.get_index()])
        return _Cut(source, range(begin, begin + sizes[value.get_index()][-1]))
    return None
