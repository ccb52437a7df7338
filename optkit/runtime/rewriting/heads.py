"""How a value by heads, (batch, heads, seq, d), comes from tokens: transposed, quantized, scaled, normalised, rotated.

The way is walked back from the attention to the Reshape that puts the heads of tokens apart, and then gone forward with
the axes at every point known, so that what treats the features of a head, or takes a table of positions, is checked to
meet the axes it has to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from optkit.runtime.program import FakeQuantize, RMSNorm, Rotary
from optkit.runtime.rewriting.building import Builder
from optkit.runtime.rewriting.decomposed import root_mean_square
from optkit.runtime.rewriting.graph import (
    arguments,
    attribute,
    integers,
    kind,
    number,
    per_feature,
    scaled,
    split_constant,
)
from optkit.runtime.rewriting.pointwise import Levels, fake_quantize_levels
from optkit.runtime.rewriting.rotary import Rotation, Table, rotation
from optkit.runtime.rewriting.shapes import Shape, Shapes

if TYPE_CHECKING:
    import openvino

#: Adds a step on the heads of a value: (builder, the value, its heads, the numbers of the path's tables).
Step = Callable[[Builder, int, int, list[int]], int]

#: The axes of tokens whose heads were put apart.
_BATCH, _SEQ, _HEADS, _FEATURES = range(4)
#: Shorter is no vector that a model computes with.
_SHORT = 1e-6


@dataclass(frozen=True)
class Path:
    """How a value of four dimensions comes from another.

    Attributes:
        start: the other.
        tokens: (batch, seq, heads * d), which ``start`` is as (batch, seq, heads, d); None if it is not made so.
        heads: of the tokens; 0 without them.
        order: for each axis of the value, that of (batch, seq, heads, d); of ``start``, if that is not made of tokens.
        steps: in order.
        factor: what the value is multiplied by after all steps.
        repeats: how often each head of ``start`` occurs, one after the other.
        tables: that steps read, each as its number among them.
    """

    start: openvino.Output
    tokens: openvino.Output | None
    heads: int
    order: tuple[int, ...]
    steps: tuple[Step, ...]
    factor: float
    repeats: int = 1
    tables: tuple[Table, ...] = ()

    def emit(self, builder: Builder, source: int, tables: list[int], *, scaled: bool = False) -> int:
        """Adds the steps; with ``scaled`` the factor too."""
        for step in self.steps:
            source = step(builder, source, self.heads, tables)
        return builder.affine(source, self.factor, None) if scaled and self.factor != 1 else source


# What is met on the way back.


@dataclass(frozen=True)
class _Transpose:
    order: tuple[int, ...]


@dataclass(frozen=True)
class _Scale:
    factor: float


@dataclass(frozen=True)
class _Repeat:
    times: int


@dataclass(frozen=True, eq=False)
class _Gain:
    by_feature: np.ndarray


@dataclass(frozen=True)
class _Norm:
    epsilon: float


_Item = _Transpose | _Scale | _Repeat | _Gain | _Norm | Rotation | Levels


def path(value: openvino.Output, shapes: Shapes) -> Path | str:
    """The way to ``value`` from the last Reshape before it, or from whatever is no step; in words why it is none."""
    items: list[_Item] = []
    while (found := _back(value, shapes)) is not None:
        value = found[1]
        items[:0] = found[0] if isinstance(found[0], tuple) else (found[0],)
    if len(shapes[value] or ()) != 4:
        return "query, key or value has no heads"
    return _forward(value, shapes[value], items, shapes)


def _back(value: openvino.Output, shapes: Shapes) -> tuple[_Item | tuple[_Item, ...], openvino.Output] | None:
    """The last step towards ``value``, or the last ones in order, and what they were done to."""
    inputs, operation = arguments(value), kind(value)
    if operation == "Transpose":
        turned = integers(inputs[1]) or []
        return (_Transpose(tuple(turned)), inputs[0]) if sorted(turned) == [0, 1, 2, 3] else None
    if operation == "FakeQuantize":
        levels = fake_quantize_levels(value)
        return None if isinstance(levels, str) else (levels, inputs[0])
    if (found := scaled(value)) is not None:
        return _Scale(found[1]), found[0]
    if operation == "Multiply":
        return _gain(value, shapes) or _norm(value, shapes)
    if operation == "Divide":
        return _unit_length(value, shapes)
    if operation == "Add" and (turn := rotation(value, shapes)) is not None:
        return turn, turn.source
    if operation == "Reshape":
        return _repeat(value, shapes) or _swap_of_one(value, shapes)
    return None


def _swap_of_one(value: openvino.Output, shapes: Shapes) -> tuple[_Item, openvino.Output] | None:
    """A Reshape in place of a Transpose, as OpenVINO writes the swap of two axes one of which is of size 1."""
    source = arguments(value)[0]
    before, after = shapes[source], shapes[value]
    if not before or len(before) != 4 or 1 not in before[1:3]:
        return None
    return (_Transpose((0, 2, 1, 3)), source) if after == (before[0], before[2], before[1], before[3]) else None


def _gain(value: openvino.Output, shapes: Shapes) -> tuple[_Item, openvino.Output] | None:
    operands, shape = split_constant(value), shapes[value]
    if operands is None or shape is None or shapes[operands[0]] != shape or shape[-1] <= 0:
        return None
    gain = per_feature(operands[1], shape[-1], len(shape))
    return None if gain is None else (_Gain(gain), operands[0])


def _norm(value: openvino.Output, shapes: Shapes) -> tuple[_Item, openvino.Output] | None:
    found = root_mean_square(value, shapes)
    return found and (_Norm(found[1]), found[0])


def _unit_length(value: openvino.Output, shapes: Shapes) -> tuple[tuple[_Item, ...], openvino.Output] | None:
    """``x / max(length of x, epsilon)`` over the last axis, as scores by cosine have it (Swin v2).

    It is a norm by the root mean square, whose epsilon is under the root: the two differ only where a length is as
    small as epsilon.
    """
    x, length = arguments(value)
    shape = shapes[x]
    if kind(length) != "Maximum" or (operands := split_constant(length)) is None or not shape or shape[-1] < 1:
        return None
    measured, epsilon = operands[0], number(operands[1])
    if kind(measured) != "ReduceL2" or arguments(measured)[0] != x or not attribute(measured, "keep_dims"):
        return None
    if integers(arguments(measured)[1]) not in ([-1], [len(shape) - 1]) or epsilon is None or not 0 < epsilon < _SHORT:
        return None
    return (_Norm(epsilon**2 / shape[-1]), _Scale(shape[-1] ** -0.5)), x


def _repeat(value: openvino.Output, shapes: Shapes) -> tuple[_Item, openvino.Output] | None:
    """Each head several times: a new axis behind the heads, repeated, and both made one."""
    wide = arguments(value)[0]
    narrow = arguments(wide)[0] if kind(wide) in ("Broadcast", "Tile") else None
    if narrow is None or kind(narrow) not in ("Unsqueeze", "Reshape"):
        return None
    source = arguments(narrow)[0]
    shape, after, one, many = shapes[source], shapes[value], shapes[narrow], shapes[wide]
    if None in (shape, after, one, many) or len(shape) != 4 or len(many) != 5 or many[2] < 1:
        return None
    times = many[2]
    if one != (*shape[:2], 1, *shape[2:]) or many != (*shape[:2], times, *shape[2:]) or shape[1] < 1:
        return None
    return (_Repeat(times), source) if after == (shape[0], shape[1] * times, *shape[2:]) else None


def _forward(start: openvino.Output, shape: Shape, items: list[_Item], shapes: Shapes) -> Path | str:
    axes, way = (_BATCH, _SEQ, _HEADS, _FEATURES), _Way()
    items = _scaled_later(items)
    # A factor may be taken to the end unless the size of numbers matters on the way.
    rounding = [i for i, item in enumerate(items) if isinstance(item, (Levels, _Norm))]
    for i, item in enumerate(items):
        match item:
            case _Transpose():
                axes = tuple(axes[axis] for axis in item.order)
            case Levels():
                way.steps.append(_levelled(item))
            case _Scale() if rounding and i < rounding[-1]:
                way.steps.append(_times(item.factor))
            case _Scale():
                way.factor *= item.factor
            case _Repeat() if axes == (_BATCH, _HEADS, _SEQ, _FEATURES) and way.repeats == 1:
                way.repeats = item.times
            case _Gain() if axes[-1] == _FEATURES:
                way.steps.append(_gained(item.by_feature))
            case _Norm() if axes[-1] == _FEATURES:
                way.steps.append(_normalised(item.epsilon))
            case Rotation():
                tables = [_table(each, axes, shape, shapes) for each in (item.cosines, item.sines)]
                if None in tables:
                    return "a rotary embedding's table does not fit (batch or 1, seq, d)"
                way.steps.append(_rotated(tuple(way.number(each) for each in tables), interleaved=item.interleaved))
            case _:
                return "what is done to heads does not meet their features"
    tokens = _tokens(start, shapes)
    heads = shape[_HEADS] if tokens is not None else 0
    return Path(start, tokens, heads, axes, tuple(way.steps), way.factor, way.repeats, tuple(way.tables))


def _scaled_later(items: list[_Item]) -> list[_Item]:
    """The same with numbers quantized first where they were scaled just before: to the levels that the scale makes."""
    items = list(items)
    for i in range(len(items) - 1):
        scale, levels = items[i : i + 2]
        if isinstance(scale, _Scale) and isinstance(levels, Levels) and scale.factor > 0:
            low, high = levels.low / scale.factor, levels.high / scale.factor
            if np.isfinite(np.float32([low, high, high - low])).all() and np.float32(low) < np.float32(high):
                items[i : i + 2] = [Levels(low, high, levels.levels), scale]
    return items


def _tokens(start: openvino.Output, shapes: Shapes) -> openvino.Output | None:
    """What ``start`` is made of by putting heads apart."""
    if kind(start) != "Reshape":
        return None
    tokens, apart = arguments(start)[0], shapes[start]
    together = shapes.tokens(tokens)
    whole = together is not None and len(together) == 3 and apart[_HEADS] > 0 and apart[_FEATURES] > 0
    return tokens if whole and (*apart[:2], apart[_HEADS] * apart[_FEATURES]) == together else None


@dataclass
class _Way:
    """A path in the making."""

    steps: list[Step] = field(default_factory=list)
    factor: float = 1.0
    repeats: int = 1
    tables: list[Table] = field(default_factory=list)

    def number(self, table: Table) -> int:
        self.tables.append(table)
        return len(self.tables) - 1


def _table(value: openvino.Output, axes: tuple[int, ...], start: Shape, shapes: Shapes) -> Table | None:
    """``value`` as a table of positions for a value whose axes are ``axes`` of ``start``, (batch, seq, heads, d)."""
    shape = shapes[value]
    if shape is None or len(shape) != 4 or axes[-1] != _FEATURES or value.get_element_type().to_string() != "f32":
        return None
    sizes = {axis: size for axis, size in zip(axes, shape)}
    batch, seq = sizes[_BATCH], sizes[_SEQ]
    # What is not known, the engine checks.
    fits = (batch < 0 or batch in (1, start[_BATCH])) and (seq < 0 or seq == start[_SEQ])
    if not fits or sizes[_HEADS] != 1 or sizes[_FEATURES] != start[_FEATURES]:
        return None
    return Table(value, axes.index(_HEADS), sizes[_FEATURES])


def _levelled(levels: Levels) -> Step:
    def step(builder: Builder, n: int, heads: int, tables: list[int]) -> int:
        return builder.alike(n, lambda target: FakeQuantize(n, target, levels.low, levels.high, levels.levels))

    return step


def _times(factor: float) -> Step:
    return lambda builder, n, heads, tables: builder.affine(n, factor, None)


def _gained(gain: np.ndarray) -> Step:
    return lambda builder, n, heads, tables: builder.affine(n, np.tile(gain, heads), None)


def _normalised(epsilon: float) -> Step:
    def step(builder: Builder, n: int, heads: int, tables: list[int]) -> int:
        return builder.alike(n, lambda target: RMSNorm(n, target, None, epsilon, heads))

    return step


def _rotated(numbers: tuple[int, ...], *, interleaved: bool) -> Step:
    def step(builder: Builder, n: int, heads: int, tables: list[int]) -> int:
        cosines, sines = (tables[number] for number in numbers)
        return builder.alike(n, lambda target: Rotary(n, cosines, sines, target, heads, interleaved))

    return step
