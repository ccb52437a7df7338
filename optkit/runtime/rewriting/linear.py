"""Linear layers that were chosen for the engine, and parts of their outputs, as of Q, K and V computed together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from optkit.runtime.packing import pack
from optkit.runtime.program import Kernel, PackedWeights, Quantization
from optkit.runtime.rewriting.building import Builder
from optkit.runtime.rewriting.graph import arguments, integers, kind
from optkit.runtime.rewriting.matches import Match, Matches
from optkit.runtime.rewriting.sites import Reading

if TYPE_CHECKING:
    import openvino

#: Packed weights, and the scales of int8 ones, of some of a layer's outputs.
Packed = tuple[PackedWeights, "np.ndarray | None"]


@dataclass(frozen=True, eq=False)
class Chosen:
    """A linear layer as it will be computed: with 8 bits, or without ``quantization`` in float32."""

    reading: Reading
    kernel: Kernel
    quantization: Quantization | None


def choose(reading: Reading, kernel: Kernel, dynamic: Quantization | None) -> Chosen | str:
    """How ``reading``'s layer is computed with ``kernel``, or why it cannot be.

    Args:
        dynamic: for layers whose activations the model does not quantize; None to leave them float32.
    """
    if reading.problem:
        return reading.problem
    if reading.quantization is not None:
        return Chosen(reading, kernel, reading.quantization)
    if kernel.name == "element":
        return Chosen(reading, kernel, None)
    if dynamic is None:
        return f"{kernel.name} computes with 8 bits, and the model does not quantize the activations"
    return Chosen(reading, kernel, dynamic)


def quantize(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (out, in) as (int8 (out, in), float32 (out,)): symmetric, a scale for each output; zeros stay zeros."""
    scales = np.abs(values).max(1, initial=0).astype(np.float32) / np.float32(127)
    scales[scales < np.finfo(np.float32).tiny] = 1  # of a row of zeros, and of one whose scale would be rounded
    return np.rint(values / scales[:, None]).astype(np.int8), scales


class Packing:
    """Packs the weights of chosen layers, those that several layers share once."""

    def __init__(self) -> None:
        self._packed: dict[tuple, tuple[np.ndarray, Packed]] = {}

    def __call__(self, chosen: Chosen, rows: slice) -> Packed:
        values = chosen.reading.values[rows]
        scales = None if chosen.reading.scales is None else chosen.reading.scales[rows]
        at = (
            (values.ctypes.data, values.shape, values.strides, values.dtype.str),
            None if scales is None else scales.tobytes(),
            chosen.kernel,
            chosen.quantization is None,
        )
        if at not in self._packed:
            # With the array beside it, so that its memory is not given to another.
            self._packed[at] = (values, _packed(values, scales, chosen))
        return self._packed[at][1]


def _packed(values: np.ndarray, scales: np.ndarray | None, chosen: Chosen) -> Packed:
    if chosen.quantization is None and scales is not None:
        values, scales = values * scales[:, None], None
    elif chosen.quantization is not None and scales is None:
        values, scales = quantize(values)
    return pack(values, chosen.kernel), scales


def linear(chosen: Chosen, packing: Callable[[Chosen, slice], Packed]) -> Match:
    """The layer's MatMul, with the quantization before it."""
    reading = chosen.reading

    def of(rows: slice) -> Match:
        def emit(builder: Builder, n: list[int]) -> int:
            return builder.linear(n[0], *packing(chosen, rows), chosen.quantization, reading.name)

        return Match(reading.matmul, "linear", (reading.source,), emit, layer=reading.name, narrow=of)

    return of(slice(None))


def part(value: openvino.Output, matches: Matches) -> Match | None:
    """Some of the features of a layer's output, as Split, VariadicSplit and Slice take them: a layer of fewer rows."""
    data = arguments(value)[0]
    source, shape = matches.shapes[data], matches.shapes[value]
    begin = _begin(value, len(shape))
    if begin is None or source is None or source[:-1] != shape[:-1]:
        return None
    narrowed = matches.narrowed(data, slice(begin, begin + shape[-1]))
    return narrowed and replace(narrowed, value=value)


def _begin(value: openvino.Output, rank: int) -> int | None:
    """The first of the features that ``value`` takes; None if it does not cut features."""
    inputs = arguments(value)
    last = ([-1], [rank - 1])
    if kind(value) == "Slice":
        start, step, axes = integers(inputs[1]), integers(inputs[3]), integers(inputs[4]) if len(inputs) > 4 else None
        return start[0] if start and start[0] >= 0 and step == [1] and axes in last else None
    if integers(inputs[1]) not in last:
        return None
    sizes = [output.get_partial_shape()[rank - 1] for output in value.get_node().outputs()]
    if any(size.is_dynamic for size in sizes):
        return None
    return sum(size.get_length() for size in sizes[: value.get_index()])
