"""Finds the linear layers of an OpenVINO model with their weights, and ties them to a checkpoint's parameters.

A linear layer is a MatMul one of whose inputs is computed from a constant. What stands between the two (Convert, the
Subtract and Multiply that decompress integers, FakeQuantize, Transpose, Reshape) is followed, so an fp32 IR and what
NNCF or optimum-intel make of it look alike here.

The tie is checked by numbers: names are only where to look first. Constants lose their names in NNCF while MatMuls keep
theirs, so it is made on the fp32 IR, where values must be equal, and carried to int8 by the MatMul's name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.errors import ExportError

if TYPE_CHECKING:
    import openvino

_INTEGERS = {"i8", "u8", "i4", "u4", "i2", "u2"}
#: Operations of OpenVINO and of ONNX that move numbers or scale them, as they stand between a quantization and the
#: product that it is for.
MOVING_OR_SCALING = frozenset(
    {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "VariadicSplit", "Concat", "Slice", "StridedSlice"}
    | {"Broadcast", "Expand", "Convert", "Cast", "Multiply", "Mul", "Div"}
)
_CONVOLUTIONS = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"}


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant weight as it is stored.

    Attributes:
        values: stored numbers with the zero point already taken off; float types stay floats.
        scale: broadcastable to ``values``; the weight is ``values * scale``. None means 1.
        dtype: OpenVINO's short name of the stored type (``f32``, ``f16``, ``i8``, ``u4`` ...).
        constant: friendly name of the Constant; two layers with the same one share it.
    """

    values: np.ndarray
    scale: np.ndarray | None
    dtype: str
    constant: str

    def real(self) -> np.ndarray:
        """What the weight is, in floating point."""
        values = self.values if self.values.dtype.kind == "f" else self.values.astype(np.float32)
        return values if self.scale is None else values * self.scale

    def _reshape(self, change: Any) -> Weight:
        scale = None if self.scale is None else change(np.broadcast_to(self.scale, self.values.shape))
        return replace(self, values=change(self.values), scale=scale)


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A MatMul with a constant weight, ``weight.values`` of shape (out, in), named by the MatMul's friendly name.

    ``operand`` says which of the MatMul's operands the weight is, 0 or 1.
    """

    matmul: str
    weight: Weight
    operand: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.values.shape

    @property
    def module(self) -> str | None:
        """Dotted name of the torch module that the MatMul was traced in, None when the name does not tell."""
        if match := re.match(r"__module\.([^/]+)/", self.matmul):
            return match[1]
        match = re.match(r"/(.+)/", self.matmul)  # as in ONNX
        return match[1].replace("/", ".") if match else None


def _node(node: openvino.Node, index: int) -> openvino.Node:
    return node.input_value(index).get_node()


def constant_array(constant: openvino.Node) -> tuple[np.ndarray, str]:
    """A Constant's numbers, unpacked where several share a byte, and the short name of the stored type."""
    dtype = constant.get_element_type().to_string()
    if dtype in ("f64", "f32", "f16", "i8", "u8", "i32", "i64"):
        return constant.data, dtype
    values = constant.get_data(dtype=np.float32)
    return values.astype(np.int16) if dtype in _INTEGERS else values, dtype


def constant_weight(node: openvino.Node) -> Weight | None:
    """What ``node`` computes when it depends on constants only, in the layout of the node's output; else None."""
    kind = node.get_type_name()
    if kind == "Constant":
        values, dtype = constant_array(node)
        return Weight(values, None, dtype, node.get_friendly_name())
    if kind not in {"Convert", "Multiply", "Subtract", "FakeQuantize", "Transpose", "Reshape"}:
        return None
    weight = constant_weight(_node(node, 0))
    if weight is None or kind == "Convert":
        return weight
    others = [constant_weight(_node(node, index)) for index in range(1, node.get_input_size())]
    if None in others:
        return None
    shape = tuple(node.get_output_shape(0))
    if kind == "Multiply":
        weight, factor = _weight_and_other(weight, others[0])
        scale = factor.real() if weight.scale is None else weight.scale * factor.real()
        return replace(weight, values=np.broadcast_to(weight.values, shape), scale=scale)
    if kind == "Subtract":
        return _subtract(weight, others[0], shape)
    if kind == "FakeQuantize":
        ranges = [other.real() for other in others]
        values = _fake_quantize(weight.real(), *ranges, levels=node.get_attributes()["levels"])
        return replace(weight, values=values, scale=None)
    if kind == "Transpose":
        return weight._reshape(lambda array: np.transpose(array, others[0].values.tolist()))
    return weight._reshape(lambda array: np.reshape(array, shape))


def _weight_and_other(first: Weight, second: Weight) -> tuple[Weight, Weight]:
    """Which of two operands is the weight: the larger, of two as large integers rather than what scales them."""
    ranks = [(weight.values.size, weight.values.dtype.kind in "iu") for weight in (first, second)]
    return (first, second) if ranks[0] >= ranks[1] else (second, first)


def _subtract(weight: Weight, point: Weight, shape: tuple[int, ...]) -> Weight:
    """Integers without a whole zero point stay integers; every other difference is what it is in float32."""
    whole = point.scale is None and bool((point.values == np.rint(point.values)).all())
    if weight.dtype in _INTEGERS and weight.values.dtype.kind in "iu" and weight.scale is None and whole:
        if not point.values.size or np.abs(point.values.astype(np.float64)).max() < 1 << 14:
            values = weight.values.astype(np.int16) - point.values.astype(np.int16)
            return replace(weight, values=np.broadcast_to(values, shape))
    named, _ = _weight_and_other(weight, point)
    return replace(named, values=np.broadcast_to(weight.real() - point.real(), shape), scale=None)


def _fake_quantize(real: np.ndarray, low: Any, high: Any, out_low: Any, out_high: Any, *, levels: int) -> np.ndarray:
    """The dequantized weight, as OpenVINO's FakeQuantize computes it; a range may be a single number."""
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.round((real - low) / (high - low) * (levels - 1))
        within = step / (levels - 1) * (out_high - out_low) + out_low
    above = np.where(real > np.maximum(low, high), out_high, within)
    return np.where(real <= np.minimum(low, high), out_low, above).astype(np.float32)


def linear_layers(model: openvino.Model) -> list[LinearLayer]:
    """Every linear layer of ``model`` in execution order. Arrays may be views: keep the model while they are used."""
    layers = []
    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        attributes = node.get_attributes()
        operand, weight, transpose = 1, constant_weight(_node(node, 1)), not attributes["transpose_b"]
        if weight is None:
            operand, weight, transpose = 0, constant_weight(_node(node, 0)), attributes["transpose_a"]
        if weight is None or weight.values.ndim < 2 or prod(weight.values.shape[:-2]) != 1:
            continue
        if weight.values.ndim > 2:
            weight = weight._reshape(lambda array: array.reshape(array.shape[-2:]))
        weight = weight._reshape(np.transpose) if transpose else weight
        layers.append(LinearLayer(node.get_friendly_name(), weight, operand))
    return layers


def parameters(model: openvino.Model) -> Iterator[tuple[str, Weight]]:
    """Every constant of ``model`` that stands for trained numbers, once, as (``linear``, ``conv``, ``other``; weight).

    Scales, zero points and quantization ranges are no parameters, nor are integers that hold shapes and indices.
    """
    kinds = {layer.weight.constant: "linear" for layer in linear_layers(model)}
    helpers: set[str] = set()
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind in _CONVOLUTIONS and (weight := constant_weight(_node(node, 1))):
            kinds.setdefault(weight.constant, "conv")
        elif kind == "FakeQuantize":
            helpers |= {_node(node, index).get_friendly_name() for index in range(1, 5)}
        elif kind in ("Multiply", "Subtract"):
            weight = constant_weight(node)
            if weight is not None and weight.dtype in _INTEGERS:
                helpers |= {source.get_friendly_name() for source in _sources(node)} - {weight.constant}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_friendly_name() not in helpers and _is_tensor(node):
            yield kinds.get(node.get_friendly_name(), "other"), constant_weight(node)


def _is_tensor(constant: openvino.Node) -> bool:
    """Whether a Constant holds trained numbers by its type, and is no scalar."""
    number = constant.get_element_type()
    return (number.is_real() or number.to_string() in _INTEGERS) and len(constant.get_output_shape(0)) > 0


def _sources(node: openvino.Node) -> Iterator[openvino.Node]:
    if node.get_type_name() == "Constant":
        yield node
    for value in node.input_values():
        yield from _sources(value.get_node())


def map_parameters(
    layers: Sequence[LinearLayer], checkpoint: Mapping[str, np.ndarray], *, required: Collection[str] = ()
) -> dict[str, str]:
    """Ties each linear layer of an fp32 IR to the parameter that holds the same numbers.

    Args:
        layers: of the fp32 IR.
        checkpoint: the checkpoint's linear weights (out, in) by parameter name.
        required: parameters that must be found unless they are zero as a whole: the pruned ones. Others may be missing,
            as a head the task leaves out.

    Returns:
        Parameter name by MatMul name. MatMuls whose constant is no parameter (folded positions, for one) are left out.

    Raises:
        ExportError: if a MatMul bears a parameter's name and holds other numbers, or a required parameter is nowhere.
    """
    mapping: dict[str, str] = {}
    for layer in layers:
        named = [name for name in _candidate_names(layer) if name in checkpoint]
        found = next((name for name in [*named, *checkpoint] if _same(layer.weight, checkpoint[name])), None)
        if found is not None:
            mapping[layer.matmul] = found
        elif named:
            raise ExportError(_difference(layer, named[0], checkpoint[named[0]]))
    # A weight that is zero as a whole adds nothing, and a converter may take its MatMul out.
    lost = [name for name in required if name not in set(mapping.values()) and checkpoint[name].any()]
    if lost:
        raise ExportError(f"{lost[0]}: no MatMul of the converted model has its {checkpoint[lost[0]].size} weights")
    return mapping


def _candidate_names(layer: LinearLayer) -> Iterator[str]:
    # The module first: weights that are equal, such as wholly pruned ones, may share one constant of the IR.
    if layer.module:
        yield layer.module + ".weight"
    yield layer.weight.constant.removeprefix("self.")


def _same(weight: Weight, parameter: np.ndarray) -> bool:
    if weight.values.shape != parameter.shape or weight.values.dtype.kind != "f":
        return False
    return np.array_equal(weight.real(), parameter)


def _difference(layer: LinearLayer, name: str, parameter: np.ndarray) -> str:
    where = f"between the checkpoint and the converted model ({layer.matmul})"
    values = layer.weight.values
    if values.shape != parameter.shape:
        return f"{name}: its shape differs {where}: {parameter.shape} and {values.shape}"
    return f"{name}: {np.count_nonzero(values != parameter)} of {parameter.size} weights differ {where}"


def verify_quantized(
    layers: Sequence[LinearLayer], mapping: Mapping[str, str], checkpoint: Mapping[str, np.ndarray]
) -> None:
    """Proves that each mapped layer of a quantized IR kept its parameter's zeros, and its signs elsewhere.

    Raises:
        ExportError: naming the layer and the number of weights, if a layer is gone, a zero became non-zero, or a weight
            that did not round to zero changed its sign.
    """
    by_name = {layer.matmul: layer for layer in layers}
    for matmul, name in mapping.items():
        layer, parameter = by_name.get(matmul), checkpoint[name]
        if layer is None:
            raise ExportError(f"{name}: its MatMul {matmul} is gone after quantization")
        if layer.shape != parameter.shape:
            raise ExportError(_difference(layer, name, parameter))
        values = layer.weight.values
        revived = np.count_nonzero(values[parameter == 0])
        if revived:
            raise ExportError(f"{name}: {revived} pruned weights became non-zero in quantization ({matmul})")
        signs = np.sign(values)
        if layer.weight.scale is not None:  # NNCF's is negative where that lets the largest weight use -128
            signs = signs * np.sign(layer.weight.scale)
        flipped = np.count_nonzero(signs * np.sign(parameter) < 0)
        if flipped:
            raise ExportError(f"{name}: {flipped} weights changed sign in quantization ({matmul})")
