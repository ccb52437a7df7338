"""Relative positions in the scores of attention: terms that depend on a query, or a key, and on how far both are apart.

Disentangled attention (He et al. 2021, https://arxiv.org/abs/2006.03654) multiplies queries, or keys, by the rows of a
table, and picks of the products those that the distances of queries and keys say. A program takes the table, and the
row for each distance: a vector instead of a matrix, which is made of nodes like the matrix's, applied to distances.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from optkit.ir.io import import_openvino
from optkit.runtime.rewriting.graph import Key, arguments, attribute, integers, key, kind, number, scaled
from optkit.runtime.rewriting.shapes import Shape, Shapes

if TYPE_CHECKING:
    import openvino

#: Of one attention.
MAX_TERMS = 2
#: Nodes that treat each number by itself, whatever the shape.
_ELEMENTWISE = {
    *("Abs", "Add", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "Ceiling", "Clamp", "Convert", "Divide", "Equal", "Floor"),
    *("FloorMod", "Greater", "GreaterEqual", "Less", "LessEqual", "Log", "LogicalAnd", "LogicalNot", "LogicalOr"),
    *("Maximum", "Minimum", "Mod", "Multiply", "Negative", "NotEqual", "Power", "Select", "Sign", "Sqrt", "Subtract"),
}
_SAME_LAYOUT = {"Broadcast", "Reshape", "Slice", "Squeeze", "Tile", "Unsqueeze"}


@dataclass(frozen=True, eq=False)
class Term:
    """``scale`` x the product of each query, or key, with the row of ``table`` that the distance to a key says.

    Attributes:
        content: queries or keys, (batch, heads, seq, d).
        table: float32 (1, heads, rows, d).
        places: i32 (1, 1, 1, 2 * seq - 1): the row for each distance of query and key, from 1 - seq up.
    """

    content: openvino.Output
    of_keys: bool
    table: openvino.Output
    places: openvino.Output
    scale: float


@dataclass
class Distances:
    """Vectors over the distances of queries and keys, made of OpenVINO's nodes; each is made once."""

    shapes: Shapes
    _vectors: dict[tuple[Key, bool], openvino.Output] = field(default_factory=dict)
    _places: dict[tuple[Key, bool], openvino.Output] = field(default_factory=dict)

    def places(self, indices: openvino.Output, length: int, *, of_keys: bool) -> openvino.Output | None:
        """The indices (..., seq, seq) as a vector (1, 1, 1, 2 * seq - 1), if they depend on distances alone.

        Args:
            length: the size that the sequence has in ``shapes``.
            of_keys: whether their rows are keys and their columns queries, else the other way round.
        """
        ops = import_openvino().opset13
        base = indices
        while kind(base) in ("Broadcast", "Convert", "Tile"):
            base = arguments(base)[0]
        at = key(base), of_keys
        if at not in self._places:
            vector = self._vector(base, length, of_keys)
            if vector is None:
                return None
            flat = ops.constant(np.array([1, 1, 1, -1], np.int64))
            self._places[at] = ops.reshape(ops.convert(vector, "i32"), flat, False).output(0)
        return self._places[at]

    def _vector(self, value: openvino.Output, length: int, of_keys: bool) -> openvino.Output | None:
        """What stands for a value (.., rows, columns) that depends on row less column: the same over all distances."""
        at = key(value), of_keys
        if at not in self._vectors:
            made = self._made(value, length, of_keys)
            if made is None:
                return None
            self._vectors[at] = made
        return self._vectors[at]

    def _made(self, value: openvino.Output, length: int, of_keys: bool) -> openvino.Output | None:
        shape, inputs, operation = self.shapes[value], arguments(value), kind(value)
        if not shape or shape[-2:] != (length, length) or any(size != 1 for size in shape[:-2]):
            return None
        if operation == "Subtract" and (count := self._difference(value, length)) is not None:
            return _range(count, of_keys)
        if operation in _SAME_LAYOUT:
            inner = self.shapes[inputs[0]]
            alike = inner and inner[-2:] == shape[-2:] and all(size == 1 for size in inner[:-2])
            return self._vector(inputs[0], length, of_keys) if alike else None
        if operation not in _ELEMENTWISE:
            return None
        given = []
        for each in inputs:
            one = self._single(each) or self._vector(each, length, of_keys)
            if one is None:
                return None
            given.append(one)
        return _node(value, given)

    def _single(self, value: openvino.Output) -> openvino.Output | None:
        """A single number as it meets every distance."""
        shape = self.shapes[value]
        if shape is None or any(size != 1 for size in shape):
            return None
        ops = import_openvino().opset13
        return value if not shape else ops.reshape(value, ops.constant(np.array([1], np.int64)), False).output(0)

    def _difference(self, value: openvino.Output, length: int) -> openvino.Output | None:
        """The number of tokens if ``value`` is 0, 1 .. down the rows less 0, 1 .. along the columns."""
        rows, columns = (self._range_of(each, axis, length) for each, axis in zip(arguments(value), (-2, -1)))
        return rows if rows is not None and columns is not None else None

    def _range_of(self, value: openvino.Output, axis: int, length: int) -> openvino.Output | None:
        """The end of the Range from 0 that ``value`` repeats along all axes but ``axis``."""
        while kind(value) in _SAME_LAYOUT | {"Convert"}:
            shape, source = self.shapes[value], arguments(value)[0]
            inner = self.shapes[source]
            if shape is None or inner is None or kind(value) == "Slice":
                return None
            if not _along(shape, axis, length) or not (inner == (length,) or _along(inner, axis, length)):
                return None
            value = source
        if kind(value) != "Range" or self.shapes[value] != (length,):
            return None
        start, stop, step = arguments(value)
        return stop if number(start) == 0 and number(step) == 1 else None


def _along(shape: Shape, axis: int, length: int) -> bool:
    """Whether numbers that lie along ``axis`` may lie in this shape: beside it there is nothing but copies."""
    if len(shape) < 2:
        return False
    other = shape[-1] if axis == -2 else shape[-2]
    return shape[axis] == length and other in (1, length) and all(size == 1 for size in shape[:-2])


def _range(count: openvino.Output, of_keys: bool) -> openvino.Output:
    """All distances of query and key, from 1 - count up, as those of row and column."""
    ops = import_openvino().opset13
    one, count = ops.constant(np.int64(1)), ops.reshape(count, ops.constant(np.array([], np.int64)), False)
    count = ops.convert(count, "i64")
    distances = ops.range(ops.subtract(one, count), count, one, "i64")
    return (ops.negative(distances) if of_keys else distances).output(0)


def _node(value: openvino.Output, given: list[openvino.Output]) -> openvino.Output:
    """A node like that of ``value`` with other inputs."""
    from openvino.utils.node_factory import NodeFactory

    node = value.get_node()
    attributes = {name: each for name, each in node.get_attributes().items() if name != "auto_broadcast"}
    return NodeFactory("opset13").create(node.get_type_name(), given, attributes).output(0)


def term(value: openvino.Output, shapes: Shapes, distances: Distances, length: int) -> Term | None:
    """The relative positions that ``value``, (batch, heads, seq, seq), is."""
    scale = 1.0
    of_keys = False
    while True:
        if (found := scaled(value)) is not None:
            value, scale = found[0], scale * found[1]
        elif kind(value) == "Transpose" and not of_keys and integers(arguments(value)[1]) == [0, 1, 3, 2]:
            value, of_keys = arguments(value)[0], True
        else:
            break
    if kind(value) != "GatherElements" or attribute(value, "axis") not in (-1, 3):
        return None
    products, indices = arguments(value)
    while (found := scaled(products)) is not None:
        products, scale = found[0], scale * found[1]
    shape = shapes[value]
    if kind(products) != "MatMul" or attribute(products, "transpose_a") or len(shape or ()) != 4:
        return None
    content, table = arguments(products)
    sizes = shapes[table]
    if not sizes or len(sizes) != 4 or sizes[0] != 1 or sizes[1] != shape[1]:
        return None
    places = distances.places(indices, length, of_keys=of_keys)
    if places is None:
        return None
    if not attribute(products, "transpose_b"):
        ops = import_openvino().opset13
        table = ops.transpose(table, ops.constant(np.array([0, 1, 3, 2], np.int64))).output(0)
    return Term(content, of_keys, table, places, scale)
