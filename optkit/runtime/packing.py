"""Packs weights into their non-zero blocks, and a ``Program`` into the bytes that the engine reads.

Layout (little-endian), version 1; ``csrc/format/parse.cpp`` is its reader and refuses whatever does not fit:

====================  ==================================================================================================
header, 64 bytes      ``OPTKPROG``; uint32 version, values, steps, sections, inputs, outputs; uint64 total bytes; zeros
values                uint32 features of each value, 0 for a mask
inputs, outputs       uint32 value numbers
steps, 96 bytes each  uint32 kind, 4 sources, target, 6 integers; 4 float32; 8 uint32 section numbers
sections              uint64 offset (a multiple of 64), uint64 bytes
data                  the sections
====================  ==================================================================================================

What a step's integers, floats and sections mean is said in ``_fields``. 0xFFFFFFFF stands for "none".
"""

from __future__ import annotations

import struct

import numpy as np

from optkit.runtime.program import (
    ACTIVATIONS,
    Activation,
    Add,
    Affine,
    Attention,
    Bias,
    FakeQuantize,
    Kernel,
    LayerNorm,
    Linear,
    Multiply,
    PackedWeights,
    Program,
    RelativePositions,
    RMSNorm,
    Rotary,
    Step,
)

MAGIC, VERSION = b"OPTKPROG", 1
NONE = 0xFFFFFFFF
ALIGNMENT = 64
#: Above so many inputs a sum of u8 x s8 products may leave 32 bits, and an index 16.
MAX_INPUTS = 65_536

_HEADER = struct.Struct("<8s6IQ24x")
_STEP = struct.Struct("<I4II6I4f8I")
_SECTION = struct.Struct("<2Q")


def pack(values: np.ndarray, kernel: Kernel) -> PackedWeights:
    """The non-zero blocks of ``values``.

    Args:
        values: (out, in), int8, or float32 for ``element`` kernels.
        kernel: says the blocks' shape.

    Raises:
        ValueError: if the type does not fit the kernel, or the matrix is wider than ``MAX_INPUTS``.
    """
    if values.dtype != np.int8 and not (values.dtype == np.float32 and kernel.name == "element"):
        raise ValueError(f"{kernel.name} cannot hold {values.dtype} weights")
    if values.shape[1] > MAX_INPUTS:
        raise ValueError(f"a linear layer of {values.shape[1]} inputs is wider than {MAX_INPUTS}")
    rows, columns = kernel.rows, kernel.columns
    padded = np.pad(values, [(0, -size % step) for size, step in zip(values.shape, (rows, columns))])
    groups, width = padded.shape[0] // rows, padded.shape[1] // columns
    blocks = padded.reshape(groups, rows, width, columns)
    if rows == 1 and columns == 4:
        kept = np.ascontiguousarray(padded).view(np.int32) != 0
    else:
        kept = blocks.any(axis=(1, 3))
    pointers = np.concatenate([[0], np.cumsum(np.count_nonzero(kept, axis=1))]).astype(np.uint32)
    indices = np.nonzero(kept)[1].astype(np.uint16)
    return PackedWeights(values.shape, rows, columns, pointers, indices, blocks.transpose(0, 2, 1, 3)[kept])


def encode(program: Program) -> bytes:
    """The bytes of ``program``."""
    sections = _Sections()
    steps = [_encode_step(step, sections) for step in program.steps]
    tables = np.asarray([*program.features, *program.inputs, *program.outputs], dtype="<u4").tobytes()
    start = _HEADER.size + len(tables) + len(steps) * _STEP.size + len(sections.arrays) * _SECTION.size
    entries, data = [], []
    for array in sections.arrays:
        padding = -start % ALIGNMENT
        entries.append(_SECTION.pack(start + padding, array.nbytes))
        data += [bytes(padding), array.tobytes()]
        start += padding + array.nbytes
    counts = (len(program.features), len(steps), len(sections.arrays), len(program.inputs), len(program.outputs))
    header = _HEADER.pack(MAGIC, VERSION, *counts, start)
    return b"".join([header, tables, *steps, *entries, *data])


class _Sections:
    """Arrays in the order of their numbers; one that several steps share is stored once."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._numbers: dict[int, int] = {}

    def add(self, array: np.ndarray | None, dtype: str) -> int:
        if array is None:
            return NONE
        if id(array) not in self._numbers:
            self._numbers[id(array)] = len(self.arrays)
            self.arrays.append(np.ascontiguousarray(array, dtype=dtype))
        return self._numbers[id(array)]


def _encode_step(step: Step, sections: _Sections) -> bytes:
    kind, sources, target, integers, floats, numbers = _fields(step, sections)
    return _STEP.pack(
        kind,
        *_fill(sources, 4, NONE),
        target,
        *_fill(integers, 6, 0),
        *_fill(floats, 4, 0.0),
        *_fill(numbers, 8, NONE),
    )


def _fill(items: list, size: int, filler: float) -> list:
    return [*items, *[filler] * (size - len(items))]


def _fields(step: Step, sections: _Sections) -> tuple[int, list, int, list, list, list]:
    """(kind, sources, target, integers, floats, sections) of a step."""
    match step:
        case Linear(weights=weights, quantization=quantization):
            mode = 0 if quantization is None else 2 if quantization.low is None else 1
            single = weights.values.dtype == np.float32
            # out, in, rows, columns, float32?, quantization (0 none, 1 static, 2 dynamic)
            integers = [*weights.shape, weights.rows, weights.columns, int(single), mode]
            floats = [quantization.low, quantization.high] if mode == 1 else []
            numbers = [
                sections.add(weights.pointers, "<u4"),
                sections.add(weights.indices, "<u2"),
                sections.add(weights.values, "<f4" if single else "i1"),
                sections.add(step.scales, "<f4"),
                sections.add(step.bias, "<f4"),
                sections.add(quantization.channel_scale if quantization else None, "<f4"),
            ]
            return 1, [step.source], step.target, integers, floats, numbers
        case Activation():
            return 2, [step.source], step.target, [ACTIVATIONS[step.kind]], [], []
        case Affine():
            numbers = [sections.add(step.scale, "<f4"), sections.add(step.shift, "<f4")]
            return 3, [step.source], step.target, [], [], numbers
        case FakeQuantize():
            return 4, [step.source], step.target, [step.levels], [step.low, step.high], []
        case Add():
            return 5, [step.left, step.right], step.target, [], [], []
        case LayerNorm():
            numbers = [sections.add(step.gamma, "<f4"), sections.add(step.beta, "<f4")]
            return 6, [step.source], step.target, [], [step.epsilon], numbers
        case Attention():
            mask = NONE if step.mask is None else step.mask
            # heads, heads of keys, one more than how far a query sees before and behind itself (0: any distance)
            reach = [0 if each is None else each + 1 for each in (step.before, step.behind)]
            integers = [step.heads, step.key_heads or step.heads, *reach]
            return 7, [step.query, step.key, step.value, mask], step.target, integers, [step.scale], []
        case Multiply():
            return 8, [step.left, step.right], step.target, [], [], []
        case RMSNorm():
            return 9, [step.source], step.target, [step.heads], [step.epsilon], [sections.add(step.gamma, "<f4")]
        case Rotary():
            integers = [step.heads, int(step.interleaved)]
            return 10, [step.source, step.cosines, step.sines], step.target, integers, [], []
        case RelativePositions():
            sources = [step.content, step.table, step.places]
            return 11, sources, step.target, [step.heads, int(step.of_keys)], [step.scale], []
        case Bias():
            return 12, [step.left, step.right], step.target, [], [], []
    raise TypeError(f"no step: {type(step).__name__}")
