"""Reading an OpenVINO graph: values and their keys, constants as numbers, who reads what.

A value is an ``openvino.Output``: one port of one node. Constants are read through the Convert and Multiply that
decompress them, so an IR compressed to fp16 looks like an fp32 one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from optkit.ir.layers import constant_weight

if TYPE_CHECKING:
    import openvino

Key = tuple[str, int]
#: Nodes that give the numbers of their first input again, in another shape or type.
SAME_NUMBERS = frozenset({"Convert", "Reshape", "Squeeze", "Unsqueeze"})


def key(value: openvino.Output) -> Key:
    """What a value is known by in dictionaries: its node's name in OpenVINO, which no other has, and the port."""
    return value.get_node().get_name(), value.get_index()


def kind(value: openvino.Output) -> str:
    """Type of the node that computes ``value``: ``MatMul``, ``Add`` ..."""
    return value.get_node().get_type_name()


def arguments(value: openvino.Output) -> list[openvino.Output]:
    """Inputs of the node that computes ``value``."""
    return value.get_node().input_values()


def attribute(value: openvino.Output, name: str) -> object:
    """An attribute of the node that computes ``value``; None if it has no such."""
    return value.get_node().get_attributes().get(name)


def readers(value: openvino.Output) -> list[openvino.Node]:
    """Nodes that read ``value``."""
    return [port.get_node() for port in value.get_target_inputs()]


def constant(value: openvino.Output, limit: int) -> np.ndarray | None:
    """The numbers of a value that depends on constants only and has at most ``limit`` of them; else None."""
    shape = value.get_partial_shape()
    if shape.is_dynamic or int(np.prod(shape.to_shape(), dtype=np.int64)) > limit:
        return None
    weight = constant_weight(value.get_node())
    if weight is None:
        return None
    return weight.values if weight.scale is None else weight.values * weight.scale


def number(value: openvino.Output) -> float | None:
    """The number of a constant that holds a single one, finite in float32."""
    array = constant(value, 1)
    return None if array is None or array.size != 1 or not _fits(array) else float(array.reshape(()))


def _fits(array: np.ndarray) -> bool:
    """Whether all numbers are finite in float32, which is what programs hold."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(array.astype(np.float32)).all())


def integers(value: openvino.Output) -> list[int] | None:
    """The numbers of a short constant, as axes and orders are."""
    array = constant(value, 16)
    return None if array is None else [int(each) for each in array.reshape(-1)]


def structure(value: openvino.Output, depth: int = 32) -> tuple:
    """Equal for values that are computed alike from the same ones; shapes are told apart by whose they are."""
    node = value.get_node()
    operation = node.get_type_name()
    if operation == "Constant":
        array = constant(value, 256)
        if array is not None:
            return operation, value.get_element_type().to_string(), array.shape, array.tobytes()
    if depth == 0 or operation in ("Constant", "Parameter", "ShapeOf", "Program"):
        source = node.input_value(0) if operation == "ShapeOf" else value
        return operation, value.get_element_type().to_string(), key(source)
    attributes = str(sorted(node.get_attributes().items()))
    inputs = tuple(structure(each, depth - 1) for each in node.input_values())
    return operation, value.get_index(), attributes, inputs


def per_feature(value: openvino.Output, features: int, rank: int) -> np.ndarray | None:
    """float32 (features,), all finite: a constant that meets a value (..., features) of so many dimensions alike at
    each token.
    """
    shape = value.get_partial_shape()
    if shape.is_dynamic or len(shape) > rank:
        return None
    sizes = shape.to_shape()
    if any(size != 1 for size in sizes[:-1]) or (len(sizes) and sizes[-1] not in (1, features)):
        return None
    array = constant(value, features)
    if array is None or not _fits(array):
        return None
    return np.array(np.broadcast_to(array.reshape(-1), (features,)), dtype=np.float32)


def split_constant(value: openvino.Output) -> tuple[openvino.Output, openvino.Output] | None:
    """(the other operand, the constant) of a node of two operands, in whichever order they come."""
    left, right = arguments(value)
    for data, fixed in ((left, right), (right, left)):
        if _depends_on_constants(fixed) and not _depends_on_constants(data):
            return data, fixed
    return None


def scaled(value: openvino.Output) -> tuple[openvino.Output, float] | None:
    """(x, factor) of a product or quotient of x and a single number."""
    if kind(value) not in ("Multiply", "Divide"):
        return None
    operands = split_constant(value)
    factor = None if operands is None else number(operands[1])
    if factor is None or len(operands[1].get_partial_shape()) > 4:
        return None
    if kind(value) == "Multiply":
        return operands[0], factor
    return (operands[0], 1 / factor) if factor and operands[0] == arguments(value)[0] else None


def _depends_on_constants(value: openvino.Output) -> bool:
    operation = kind(value)
    if operation in ("Convert", "Multiply", "Reshape"):
        return all(map(_depends_on_constants, arguments(value)))
    return operation == "Constant"
