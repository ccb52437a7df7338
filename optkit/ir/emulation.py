"""An int8 IR evaluated in float32: what its FakeQuantize says, on any CPU, with OpenVINO's int8 kernels kept out.

Those saturate on CPUs without VNNI where weights use their whole range, so they are no reference there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from optkit.ir.io import import_openvino
from optkit.ir.layers import constant_weight

if TYPE_CHECKING:
    import openvino

_INTEGERS = {"i8", "u8", "i4", "u4"}


def emulate_f32(model: openvino.Model) -> openvino.Model:
    """A copy of ``model`` in which elementwise f32 operators stand for FakeQuantize and f32 constants for int8 weights.

    Every FakeQuantize of an activation becomes clamp, shift, scale, round half to even, and back. Weights are unpacked
    as ``optkit.ir`` reads them. Compile it with ``INFERENCE_PRECISION_HINT`` f32.
    """
    copy = model.clone()
    for node in copy.get_ordered_ops():
        if _unpacks(node) and not any(_unpacks(target.get_node()) for target in node.output(0).get_target_inputs()):
            weight = constant_weight(node)
            values = weight.values.astype(np.float32)
            real = _constant(values if weight.scale is None else values * weight.scale.astype(np.float32))
            kind = node.get_output_element_type(0)
            _replace(node, real if kind.to_string() == "f32" else import_openvino().opset13.convert(real, kind))
        elif node.get_type_name() == "FakeQuantize" and constant_weight(node.input_value(0).get_node()) is None:
            _replace(node, _elementwise(node))
    return copy


def _unpacks(node: openvino.Node) -> bool:
    """Whether ``node`` makes real numbers of a constant's integers, or is a step on the way there."""
    if node.get_type_name() not in ("Convert", "Multiply", "Subtract", "FakeQuantize"):
        return False
    weight = constant_weight(node)
    return weight is not None and (weight.dtype in _INTEGERS or node.get_type_name() == "FakeQuantize")


def _constant(values: np.ndarray) -> openvino.Node:
    return import_openvino().opset13.constant(np.ascontiguousarray(values, np.float32))


def _elementwise(node: openvino.Node) -> openvino.Node:
    ops = import_openvino().opset13
    ranges = [constant_weight(node.input_value(index).get_node()) for index in range(1, 5)]
    low, high, out_low, out_high = (array.values.astype(np.float32) for array in ranges)
    steps = np.float32(node.get_attributes()["levels"] - 1)
    clamped = ops.minimum(ops.maximum(node.input_value(0), _constant(low)), _constant(high))
    position = ops.multiply(ops.subtract(clamped, _constant(low)), _constant(steps / (high - low)))
    level = ops.round(position, "half_to_even")
    return ops.add(ops.multiply(level, _constant((out_high - out_low) / steps)), _constant(out_low))


def _replace(node: openvino.Node, other: openvino.Node) -> None:
    import_openvino().utils.replace_node(node, other)
    other.set_friendly_name(node.get_friendly_name())
