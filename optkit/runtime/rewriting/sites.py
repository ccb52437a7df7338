"""The linear layers of an OpenVINO model as the engine sees them: weights, scales, how activations are quantized.

Weights are read whatever stands between their constant and the MatMul: NNCF's ``i8 -> Convert -> Multiply``, fp16 that
is converted, a Transpose ... Activations are quantized by a FakeQuantize in front of the MatMul, and SmoothQuant's
Multiply before that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optkit.counting.zeros import block_densities, block_sparsity, count, detect_structure
from optkit.ir.layers import LinearLayer, Weight, linear_layers
from optkit.runtime.packing import MAX_INPUTS
from optkit.runtime.program import HEIGHTS, Quantization
from optkit.runtime.rewriting.graph import arguments, attribute, key, kind, per_feature, split_constant
from optkit.runtime.rewriting.pointwise import fake_quantize_levels

if TYPE_CHECKING:
    import openvino

_MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Gather", "Slice", "StridedSlice"}


@dataclass(frozen=True, eq=False)
class LinearSite:
    """A linear layer of a model, and whether it can be computed by the engine.

    Attributes:
        matmul: friendly name of the MatMul.
        shape: (out, in).
        values: int8, or float32, (out, in); they may be views of the model's constants.
        scales: float32 (out,) of int8 values; None for float32 ones.
        quantization: of the activations, static; None where they stay float32.
        density: share of weights that are not zero.
        block4_densities: share of blocks of so many outputs (``HEIGHTS``) x 4 inputs that are not all zero.
        rows: the most of 32, 16, 8, 4, 2 and 1 such that zeros come in blocks of so many outputs x 1 input.
        supported: whether the engine can compute it.
        reason: why not; of a supported one, what there is to know.
    """

    matmul: str
    shape: tuple[int, int]
    values: np.ndarray
    scales: np.ndarray | None
    quantization: Quantization | None
    density: float
    block4_densities: Mapping[int, float]
    rows: int
    supported: bool
    reason: str


@dataclass(frozen=True, eq=False)
class Reading:
    """What the graph says of a linear layer, nothing counted.

    Attributes:
        matmul: the MatMul's value; None if no single MatMul has the layer's name.
        source: what the MatMul reads before it is scaled and quantized; the MatMul's own input if it is not.
        values, scales, quantization: as in LinearSite. Layers that quantize one value alike share one quantization.
        problem: why the engine cannot compute it; empty if it can.
    """

    name: str
    matmul: openvino.Output | None
    source: openvino.Output | None
    values: np.ndarray
    scales: np.ndarray | None
    quantization: Quantization | None
    problem: str

    @property
    def note(self) -> str:
        """What a supported layer's user should know."""
        if self.quantization is not None:
            return ""
        if self.values.dtype == np.int8:
            return "int8 weights, activations not quantized: float32 weights, or activations quantized as they come"
        return "float32 weights; int8, by output channel, if activations are quantized as they come"


def sites(model: openvino.Model) -> list[LinearSite]:
    """Every linear layer of ``model`` in execution order. Keep the model while their values are used."""
    return [_site(reading) for reading in readings(model)]


def readings(model: openvino.Model) -> list[Reading]:
    """Every linear layer of ``model`` in execution order."""
    matmuls: dict[str, list[openvino.Node]] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul":
            matmuls.setdefault(node.get_friendly_name(), []).append(node)
    shared: dict[tuple, Quantization] = {}
    return [_read(layer, matmuls[layer.matmul], shared) for layer in linear_layers(model)]


def _site(reading: Reading) -> LinearSite:
    values, problem = reading.values, reading.problem
    try:
        counts = _counts(values)
    except ValueError as error:
        counts, problem = (1.0, dict.fromkeys(HEIGHTS, 1.0), 1), problem or str(error)
    return LinearSite(
        reading.name,
        values.shape,
        values,
        reading.scales,
        reading.quantization,
        *counts,
        not problem,
        problem or reading.note,
    )


def _counts(values: np.ndarray) -> tuple[float, dict[int, float], int]:
    """(density, block4_densities, rows) of a weight."""
    zeros, size = count(values)
    return 1 - zeros / max(size, 1), block_densities(values, 4, HEIGHTS), _rows(values)


def _rows(values: np.ndarray) -> int:
    """Height of the blocks of one input in which zeros come."""
    heights = [rows for rows in reversed(HEIGHTS[1:]) if values.shape[0] % rows == 0]
    shares = {f"{rows}x1": block_sparsity(values, rows, 1) for rows in heights}
    structure = detect_structure(values, shares)
    return int(structure.split("x")[0]) if structure in shares else 1


def _read(layer: LinearLayer, nodes: list[openvino.Node], shared: dict[tuple, Quantization]) -> Reading:
    values, scales, problem = _weights(layer.weight)
    if len(nodes) > 1:
        return Reading(layer.matmul, None, None, values, scales, None, f"{len(nodes)} MatMuls have this name")
    matmul = nodes[0].output(0)
    source, quantization = arguments(matmul)[0], None
    problem = next(_faults(matmul, layer), problem)
    if not problem and values.dtype == np.int8 and kind(_unmoved(source)) == "FakeQuantize":
        found = _quantization(source, values.shape[1])
        if isinstance(found, str):
            problem = found
        else:
            source, own = found
            factors = None if own.channel_scale is None else own.channel_scale.tobytes()
            quantization = shared.setdefault((key(source), own.low, own.high, factors), own)
    return Reading(layer.matmul, matmul, source, values, scales, quantization, problem)


def _faults(matmul: openvino.Output, layer: LinearLayer) -> Iterator[str]:
    """What there is in the MatMul itself that no linear step can do."""
    data = arguments(matmul)[0]
    if attribute(matmul, "transpose_a"):
        yield "the activations are transposed"
    if layer.operand == 0:
        yield "the weight is the first operand"
    if data.get_element_type().to_string() != "f32":
        yield f"the activations are {data.get_element_type().to_string()}"
    if data.get_partial_shape().rank.is_dynamic or len(data.get_partial_shape()) < 2:
        yield "the activations' number of dimensions is unknown or 1"
    elif len(matmul.get_partial_shape()) != len(data.get_partial_shape()):
        yield "the weight has more than two dimensions"
    if layer.shape[1] > MAX_INPUTS:
        yield f"more than {MAX_INPUTS} inputs"


def _weights(weight: Weight) -> tuple[np.ndarray, np.ndarray | None, str]:
    """(values, scales, problem): int8 with a scale for each output, or float32."""
    if weight.values.dtype.kind == "f":
        return weight.real().astype(np.float32, copy=False), None, ""
    values, problem = weight.values, ""
    if values.size and (values.min() < -128 or values.max() > 127):
        problem = f"{weight.dtype} weights with a zero point do not fit int8"
    else:
        values = values.astype(np.int8, copy=False)
    scale = np.broadcast_to(1.0 if weight.scale is None else weight.scale, values.shape)
    if (scale != scale[:, :1]).any():
        problem = problem or "the weights have scales for groups of inputs"
    return values, np.ascontiguousarray(scale[:, 0], dtype=np.float32), problem


def _unmoved(value: openvino.Output) -> openvino.Output:
    """Where the numbers of ``value`` come from, before some were taken and put in another order."""
    while kind(value) in _MOVES:
        value = arguments(value)[0]
    return value


def _quantization(value: openvino.Output, features: int) -> tuple[openvino.Output, Quantization] | str:
    """(what is quantized, how) by the FakeQuantize that computes ``value`` and SmoothQuant's Multiply before it.

    What a FakeQuantize has made is quantized to the same levels again if it is moved in between.
    """
    levels = fake_quantize_levels(_unmoved(value))
    if isinstance(levels, str):
        return levels
    if levels.levels != 256:
        return f"FakeQuantize has {levels.levels} levels, not 256"
    if kind(value) != "FakeQuantize":
        return value, Quantization(levels.low, levels.high)
    source = arguments(value)[0]
    operands = split_constant(source) if kind(source) == "Multiply" else None
    shape = source.get_partial_shape()
    if operands and operands[0].get_partial_shape().same_scheme(shape):
        factors = per_feature(operands[1], features, len(shape))
        if factors is not None:
            return operands[0], Quantization(levels.low, levels.high, factors)
    return source, Quantization(levels.low, levels.high)
