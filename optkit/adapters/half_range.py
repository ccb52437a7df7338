"""Half the range of int8 where NNCF's ``OverflowFix`` leaves the full one.

CPUs without VNNI add pairs of 8-bit products in 16 bits, which overflow unless one factor has half its range. NNCF
halves weights that a product has for itself. It leaves those that an embedding shares, and products of two activations,
such as queries by keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from optkit.adapters.onnx_package import load_package
from optkit.ir.layers import MOVING_OR_SCALING, constant_weight

if TYPE_CHECKING:
    import openvino
    from onnx import ModelProto, NodeProto

#: A weight whose largest number lies above this share of its range has the full one.
_FULL = 0.75


def halve(model: openvino.Model) -> None:
    """Doubles the range of the second factor's FakeQuantize, so that its integers reach half as far.

    Args:
        model: quantized, its weights still floating point before FakeQuantize.
    """
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("MatMul", "ScaledDotProductAttention"):
            first, second = (list(_fake_quantizes(node.input_value(index).get_node())) for index in (0, 1))
            found |= {one.get_friendly_name(): one for one in second if first}
    from openvino import opset13 as ops

    for node in found.values():
        weight, *ends = (constant_weight(port.get_node()) for port in node.input_values())
        if weight is not None and np.all(np.abs(weight.real()) <= _FULL * ends[1].real()):
            continue
        for index, end in enumerate(ends, 1):
            node.input(index).replace_source_output(ops.constant((2 * end.real()).astype(np.float32)).output(0))


def _fake_quantizes(node: openvino.Node) -> Iterator[openvino.Node]:
    """Those whose numbers ``node`` passes on."""
    if node.get_type_name() == "FakeQuantize":
        yield node
    elif node.get_type_name() in MOVING_OR_SCALING:
        for port in node.input_values():
            yield from _fake_quantizes(port.get_node())


def halve_onnx(model: ModelProto) -> None:
    """The same of QuantizeLinear and DequantizeLinear on activations; each product has weights of its own there."""
    numpy = load_package("onnx").numpy_helper
    constants = {constant.name: constant for constant in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}

    def quantize_nodes(name: str) -> Iterator[NodeProto]:
        node = producers.get(name)
        if node is not None and node.op_type == "DequantizeLinear":
            if node.input[0] in producers:
                yield from (node, producers[node.input[0]])
        elif node is not None and node.op_type in MOVING_OR_SCALING:
            for given in node.input:
                yield from quantize_nodes(given)

    found = {}
    for node in model.graph.node:
        if node.op_type == "MatMul":
            first, second = (list(quantize_nodes(name)) for name in node.input)
            found |= {one.output[0]: one for one in second if first}
    for output, node in found.items():
        doubled = numpy.from_array(2 * numpy.to_array(constants[node.input[1]]), f"{output}/scale")
        model.graph.initializer.append(doubled)
        node.input[1] = doubled.name
