"""Brings a graph to the one form of several that mean the same, in which the patterns look for attention.

- A condition that compares a size with itself is decided: exporters leave an If for lengths that might differ.
- A number that is computed of known sizes, as the scale of attention often is, becomes a constant.
- Attention over (batch * heads, seq, d), as torch.bmm wants it, is computed over (batch, heads, seq, d).
- The mask of windows that follow each other in the batch, as of Swin's shifted ones, is repeated for each image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from optkit.ir.io import import_openvino
from optkit.runtime.rewriting.graph import SAME_NUMBERS, Key, arguments, constant, integers, key, kind, number
from optkit.runtime.rewriting.shapes import Shape, Shapes

if TYPE_CHECKING:
    import openvino


def simplify(model: openvino.Model) -> Shapes:
    """Rewrites ``model`` in place so that it computes the same; returns the shapes of its values."""
    shapes = Shapes(model)
    # More is known of the shapes behind an attention's scores once they are of four dimensions.
    for change in (_decide, _known_numbers, _put_heads_apart, _put_heads_apart, _repeat_masks):
        if change(model, shapes):
            model.validate_nodes_and_infer_types()
            shapes = Shapes(model)
    return shapes


def _decide(model: openvino.Model, shapes: Shapes) -> bool:
    """Replaces each If whose condition is known and whose branch returns what it was given."""
    changed = False
    for node in model.get_ordered_ops():
        if node.get_type_name() != "If":
            continue
        taken = _truth(node.input_value(0), shapes)
        for value in node.outputs() if taken is not None else ():
            given = _passed_on(node, value.get_index(), 0 if taken else 1)
            if given is not None:
                value.replace(given)
                changed = True
    return changed


def _truth(value: openvino.Output, shapes: Shapes) -> bool | None:
    if kind(value) not in ("Equal", "NotEqual"):
        fixed = constant(value, 1)
        return None if fixed is None else bool(fixed.reshape(-1)[0])
    left, right = arguments(value)
    sizes = shapes.sizes(left)
    alike = key(left) == key(right) or (sizes is not None and sizes == shapes.sizes(right))
    return (kind(value) == "Equal") if alike else None


def _passed_on(node: openvino.Node, output: int, branch: int) -> openvino.Output | None:
    """The input of an If that its branch returns as ``output``, perhaps as another type."""
    ops, body = import_openvino().opset13, node.get_function(branch)
    results = {each.output_index: each.body_value_index for each in node.get_output_descriptions(branch)}
    inner = body.get_results()[results[output]].input_value(0)
    wanted = inner.get_element_type()
    while kind(inner) == "Convert":
        inner = arguments(inner)[0]
    for place, parameter in enumerate(body.get_parameters()):
        given = [each for each in node.get_input_descriptions(branch) if each.body_parameter_index == place]
        if given and parameter.get_name() == inner.get_node().get_name():
            value = node.input_value(given[0].input_index)
            return value if value.get_element_type() == wanted else ops.convert(value, wanted.to_string()).output(0)
    return None


_ARITHMETIC: dict[str, Callable[..., float]] = {
    "Add": lambda a, b: a + b,
    "Divide": lambda a, b: a / b,
    "Multiply": lambda a, b: a * b,
    "Power": lambda a, b: a**b,
    "Sqrt": math.sqrt,
    "Subtract": lambda a, b: a - b,
}


def _known_numbers(model: openvino.Model, shapes: Shapes) -> bool:
    """Makes constants of single float32 numbers that depend on known sizes alone."""
    ops, changed, known = import_openvino().opset13, False, {}
    for node in model.get_ordered_ops():
        if len(node.outputs()) != 1 or node.get_type_name() == "Constant":
            continue
        value = node.output(0)
        found = _known_number(value, shapes, known)
        if found is None:
            continue
        known[key(value)] = found
        if value.get_element_type().to_string() == "f32":
            made = ops.constant(np.full(list(value.get_partial_shape().to_shape()), found, np.float32)).output(0)
            known[key(made)] = found
            value.replace(made)
            changed = True
    return changed


def _known_number(value: openvino.Output, shapes: Shapes, known: dict[Key, float]) -> float | None:
    """The number, if it is a known size or computed of such."""
    shape = value.get_partial_shape()
    if shape.is_dynamic or math.prod(shape.to_shape()) != 1:
        return None
    if not value.get_element_type().is_real():
        sizes = shapes.sizes(value) if kind(value) == "Gather" else None
        return float(sizes[0]) if sizes and sizes[0] >= 0 else None
    if kind(value) in SAME_NUMBERS:
        return known.get(key(arguments(value)[0]))
    operation = _ARITHMETIC.get(kind(value))
    given = [known.get(key(each), number(each)) for each in arguments(value)]
    if operation is None or None in given or not any(key(each) in known for each in arguments(value)):
        return None
    try:
        return float(operation(*given))
    except (ArithmeticError, ValueError):
        return None


def _put_heads_apart(model: openvino.Model, shapes: Shapes) -> bool:
    """Computes with four dimensions what is computed with batch and heads in one, and put apart again."""
    apart: dict[Key, openvino.Output] = {}
    changed = False
    for node in model.get_ordered_ops():
        for value in node.outputs() if len(node.outputs()) == 1 else ():
            shape = shapes[value]
            if shape is None or len(shape) not in (3, 4):
                continue
            if len(shape) == 3:
                found = _in_four(value, apart, shapes)
                if found is not None:
                    apart[key(value)] = found
            elif kind(value) == "Reshape" and key(source := arguments(value)[0]) in apart:
                inner = shapes[source]
                if inner is not None and inner[1:] == shape[2:] and shape[1] > 0:
                    heads = apart[key(source)].get_partial_shape()[1]
                    if heads.is_static and heads.get_length() == shape[1]:
                        value.replace(apart[key(source)])
                        changed = True
    return changed


def _in_four(value: openvino.Output, apart: dict[Key, openvino.Output], shapes: Shapes) -> openvino.Output | None:
    """A value (batch * heads, rows, columns) as (batch, heads, rows, columns)."""
    ops, inputs, operation = import_openvino().opset13, arguments(value), kind(value)
    if operation == "Reshape":
        before, after = shapes[inputs[0]], shapes[value]
        if before and len(before) == 4 and before[2:] == after[1:] and before[1] > 1:
            return inputs[0]
        return None
    if operation == "Tile":
        table, repeats = shapes[inputs[0]], inputs[1]
        # As often as there are sequences, since the product that it enters could not be formed otherwise.
        if table and len(table) == 3 and table[0] > 1 and _repeats_first(repeats):
            return ops.unsqueeze(inputs[0], ops.constant(0)).output(0)
        return None
    if not any(key(each) in apart for each in inputs):
        return None
    given = [apart.get(key(each), each) for each in inputs]
    if operation == "Transpose":
        order = integers(inputs[1])
        if order and sorted(order) == [0, 1, 2] and order[0] == 0:
            turned = ops.constant(np.array([0, *(axis + 1 for axis in order)], np.int64))
            return ops.transpose(given[0], turned).output(0)
        return None
    if operation == "MatMul" and all(key(each) in apart for each in inputs):
        attributes = value.get_node().get_attributes()
        return ops.matmul(*given, attributes["transpose_a"], attributes["transpose_b"]).output(0)
    if operation == "GatherElements" and key(inputs[0]) in apart:
        return _gathered(value, given[0])
    if operation in ("Add", "Divide", "Multiply", "Subtract"):
        if all(key(each) in apart or number(each) is not None for each in inputs):
            return getattr(ops, operation.lower())(*given).output(0)
        return None
    if operation == "FakeQuantize" and all(number(each) is not None for each in inputs[1:]):
        return ops.fake_quantize(*given, value.get_node().get_attributes()["levels"]).output(0)
    return None


def _repeats_first(repeats: openvino.Output) -> bool:
    """Whether a Tile of three dimensions repeats the first alone."""
    if kind(repeats) != "Concat":
        return False
    return [integers(each) for each in arguments(repeats)[1:]] == [[1], [1]]


def _gathered(value: openvino.Output, data: openvino.Output) -> openvino.Output | None:
    """GatherElements along the last axis of ``data``, of four dimensions, by indices that all heads share."""
    ops = import_openvino().opset13
    indices = arguments(value)[1]
    while kind(indices) == "Convert":
        indices = arguments(indices)[0]
    if value.get_node().get_attributes()["axis"] not in (-1, 2) or kind(indices) != "Broadcast":
        return None
    shared = arguments(indices)[0]
    shape = shared.get_partial_shape()
    if shape.rank.is_dynamic or len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 1):
        return None
    leading = ops.slice(ops.shape_of(data, "i64"), *(ops.constant(np.array([n], np.int64)) for n in (0, 2, 1, 0)))
    sizes = ops.slice(ops.shape_of(shared, "i64"), *(ops.constant(np.array([n], np.int64)) for n in (-2, 2**31, 1, 0)))
    spread = ops.broadcast(shared, ops.concat([leading, sizes], 0), broadcast_spec="BIDIRECTIONAL")
    return ops.gather_elements(data, ops.convert(spread, "i32"), -1).output(0)


def _repeat_masks(model: openvino.Model, shapes: Shapes) -> bool:
    """Adds to scores (batch * windows, heads, seq, seq) what is added to them as (batch, windows, heads, seq, seq)."""
    ops, changed = import_openvino().opset13, False
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Reshape" or (found := _masked_apart(node.input_value(0), shapes)) is None:
            continue
        apart, masks = found
        total = scores = arguments(apart)[0]
        if not all(_are_windows(shapes[node.output(0)], shapes[scores], shapes[apart], shapes[mask]) for mask in masks):
            continue
        for mask in masks:
            first, one = ops.constant(np.array([0], np.int64)), ops.constant(np.array([1], np.int64))
            own = ops.squeeze(mask, first)
            sequences, windows = (ops.gather(ops.shape_of(each, "i64"), first, first) for each in (scores, own))
            times = ops.concat([ops.divide(sequences, windows), one, one, one], 0)
            total = ops.add(total, ops.tile(own, times)).output(0)
        node.output(0).replace(total)
        changed = True
    return changed


def _masked_apart(
    value: openvino.Output, shapes: Shapes, depth: int = 4
) -> tuple[openvino.Output, list[openvino.Output]] | None:
    """(a Reshape to five dimensions, what is added to it one after the other): Swin v2 adds its mask twice."""
    if kind(value) != "Add" or not depth:
        return None
    for inner, mask in (arguments(value), arguments(value)[::-1]):
        if kind(inner) == "Reshape" and len(shapes[arguments(inner)[0]] or ()) == 4 and len(shapes[inner] or ()) == 5:
            return inner, [mask]
        if (found := _masked_apart(inner, shapes, depth - 1)) is not None:
            return found[0], [*found[1], mask]
    return None


def _are_windows(result: Shape | None, scores: Shape | None, apart: Shape | None, mask: Shape | None) -> bool:
    """Whether the batch of ``scores`` is split in two and put together again, and the mask leaves out no head."""
    if None in (result, scores, apart, mask) or [len(each) for each in (result, scores, apart, mask)] != [4, 4, 5, 5]:
        return False
    same = result[1:] == scores[1:] == apart[2:] and scores[1] > 0 and scores[2] > 1
    return same and mask[0] == mask[2] == 1 and mask[3:] == scores[2:]
