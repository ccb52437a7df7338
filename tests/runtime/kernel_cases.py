"""Programs and inputs that every instruction set has to compute; and, run as a program, their outputs by one of them:
``OPTKIT_ISA=avx2 python kernel_cases.py OUTPUTS.npz``.

The library chooses its kernels once in a process, so each instruction set has a process of its own.
"""

from __future__ import annotations

import functools
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

import numpy as np
from programs import (
    INT8,
    SINGLE,
    Grid,
    attention_program,
    chain,
    compile_ops,
    encoder_layer,
    f32,
    gated_layer,
    infer,
    linear_program,
    op_model,
    random_program,
    relative_program,
    scales,
    tables,
    weights,
)
from reference import dense

from optkit.runtime.packing import pack
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
    Program,
    Quantization,
    RelativePositions,
    RMSNorm,
    Rotary,
)

TOKENS = (0, 1, 7, 8, 15, 16, 31, 32, 33, 100)


@dataclass(frozen=True, eq=False)
class Case:
    """One program and the lists of inputs that it is run on, one after the other in one compiled model.

    Attributes:
        exact: whether float32 can hold every sum on the way, so that only one outcome is right.
        mask_type: of the op's mask input.
        integer_scores: whether queries and keys of its attention meet as integers.
    """

    program: Program
    inputs: list[list[np.ndarray]]
    exact: bool = False
    mask_type: str = "boolean"
    integer_scores: bool = False


@functools.cache
def cases() -> dict[str, Case]:
    """All cases by name."""
    makers = (
        _linear,
        _traps,
        _features,
        _no_numbers,
        _tokenwise,
        _by_heads,
        _windows,
        _attention,
        _long_attention,
        _relative_attention,
        _integer_attention,
        _integer_relative_attention,
        _layers,
        _gated_layers,
        _waiting,
        _random,
    )
    return {name: case for make in makers for name, case in make()}


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _layer(rng, shape, kernel, density, quantization, *, exact=False) -> dict:
    packed = weights(rng, shape, kernel, density, single=quantization is None)
    bias = f32(rng, shape[0]) if rng.random() < 0.7 else None
    if exact and bias is not None:
        bias = np.round(bias * 16) / np.float32(16)
    return {
        "weights": packed,
        "scales": scales(rng, packed, exact=exact),
        "bias": bias,
        "quantization": quantization,
    }


def _linear() -> Iterator[tuple[str, Case]]:
    """Shapes that fit no tile, every block shape, densities from 0 to 1, token counts around the tile's."""
    grid = Grid()
    shapes = ((1, 1), (8, 4), (1, 5), (7, 3), (9, 13), (16, 16), (33, 31), (65, 100), (40, 768), (13, 3072), (96, 384))
    for i, (out, width) in enumerate(shapes):
        density = (0.3, 1.0, 0.05, 0.6, 0.0, 0.15)[i % 6] if width < 3072 else 0.2
        for kind, kernels in (("int8", INT8), ("f32", SINGLE)):
            name = f"linear {kind} {out}x{width} density {density}"
            rng = _rng(name)
            quantization = grid.quantization if kind == "int8" else None
            layers = [_layer(rng, (out, width), k, density, quantization, exact=kind == "int8") for k in kernels]
            inputs = [[grid.activations(rng, 1, tokens, width)] for tokens in TOKENS]
            yield name, Case(linear_program(layers, width), inputs, exact=kind == "int8")
    for kernel, density in product((INT8[0], INT8[3], INT8[6], INT8[9], SINGLE[0], SINGLE[3]), (0.1, 1.0)):
        kind = "f32" if kernel in SINGLE and density == 0.1 else "int8"
        name = f"alone {kind} {kernel.name}{kernel.rows} density {density}"
        rng = _rng(name)
        layer = _layer(rng, (51, 70), kernel, density, None if kind == "f32" else Quantization(-2.2, 2.9))
        yield name, Case(linear_program([layer], 70), [[f32(rng, 2, tokens, 70)] for tokens in (1, 9, 40)])


def _traps() -> Iterator[tuple[str, Case]]:
    """Sums that leave 16 bits, rows without weights, full rows among empty ones."""
    width = 3072
    patterns = {
        "127": [127] * 4,
        "-128": [-128] * 4,
        "127 127 -128 -128": [127, 127, -128, -128],
        "127 -128": [127, -128] * 2,
        "1 127": [1, 127] * 2,
        "128 in pairs": [64, 64, -64, -64],
        "129 in pairs": [64, 65, -64, -65],
    }
    values = np.array([(pattern * width)[:width] for pattern in patterns.values()], np.int8)
    zero_point = Quantization(0.0, 255.0)
    for kernel in (INT8[0], INT8[2], INT8[6], INT8[8], INT8[11]):
        packed = pack(values, kernel)
        layer = {"weights": packed, "scales": np.full(len(values), 2.0**-12, np.float32), "bias": None}
        x = np.full((1, 33, width), 255, np.float32)
        x[0, 1::2, ::2] = 0
        x[0, 2::4] = 1
        program = linear_program([{**layer, "quantization": zero_point}], width)
        yield f"saturation {kernel.name}{kernel.rows}", Case(program, [[x], [x[:, :5]]], exact=True)

    rng = _rng("rows")
    values = rng.integers(-128, 128, (70, 64)).astype(np.int8)
    values[rng.random(70) < 0.5] = 0
    values[10:40] = 0
    values[:, 20:40] = 0
    values[12], values[69] = 127, 0
    grid = Grid(zero=3)
    for kernel in INT8:
        layer = {"weights": pack(values, kernel), "scales": np.full(70, 0.25, np.float32), "bias": None}
        program = linear_program([{**layer, "quantization": grid.quantization}], 64)
        yield f"empty rows {kernel.name}{kernel.rows}", Case(program, [[grid.activations(rng, 1, 37, 64)]], exact=True)


def _features() -> Iterator[tuple[str, Case]]:
    """What a linear layer may have besides: dynamic ranges, channel factors, extreme scales, an activation after."""
    for kernel in (INT8[0], INT8[6], INT8[9]):
        for name, low in (("dynamic", None), ("static", -1.9)):
            name = f"{name} {kernel.name}{kernel.rows}, channel factors"
            rng = _rng(name)
            factors = rng.uniform(0.2, 3, 50).astype(np.float32)
            quantization = Quantization(low, None if low is None else 2.4, factors)
            layers = [_layer(rng, (30, 50), kernel, 0.5, quantization) for _ in range(2)]
            yield name, Case(linear_program(layers, 50), [[f32(rng, 1, tokens, 50)] for tokens in (1, 16, 47)])

    # Ranges that end at whole levels, 0 among them: a dynamic quantizer has one right outcome, too.
    rng = _rng("dynamic exact")
    levels = rng.integers(0, 256, (1, 45, 40))
    levels[..., 0], levels[..., 1] = 0, 255
    shift = rng.integers(0, 256, (1, 45, 1))
    x = ((levels - shift) * np.ldexp(1.0, rng.integers(-9, 3, (1, 45, 1)))).astype(np.float32)
    x[0, 7], x[0, 44] = 0, 0
    layers = [_layer(rng, (21, 40), kernel, 0.6, Quantization(None, None), exact=True) for kernel in INT8]
    yield "dynamic exact", Case(linear_program(layers, 40), [[x], [x[:, :7]]], exact=True)
    signs = np.where(np.arange(9) % 2, -1, 1)[None, :, None] * np.abs(f32(rng, 1, 9, 40))
    yield "dynamic one sign", Case(linear_program(layers, 40), [[signs.astype(np.float32)]])

    for size in (1e-30, 1e-12, 1e12, 1e30):
        name = f"scale {size:g}"
        rng = _rng(name)
        layer = _layer(rng, (20, 24), INT8[0], 0.5, Quantization(-size, size * 1.1))
        layer["bias"] = None
        other = {**layer, "scales": (layer["scales"] / np.float32(size)).astype(np.float32)}
        x = (f32(rng, 1, 20, 24) * size).astype(np.float32)
        yield name, Case(linear_program([layer, other], 24), [[x]])

    for kind in ACTIVATIONS:
        name = f"linear and {kind}"
        rng = _rng(name)
        first = _layer(rng, (70, 36), INT8[0], 0.7, Grid().quantization)
        last = _layer(rng, (20, 70), INT8[0], 0.7, Quantization(-0.5, 3.0))
        program = chain(
            36,
            (70, lambda s, t, a=first: Linear(s, t, **a)),
            lambda s, t, k=kind: Activation(s, t, k),
            (20, lambda s, t, a=last: Linear(s, t, **a)),
        )
        yield name, Case(_all_outputs(program), [[Grid().activations(rng, 1, tokens, 36)] for tokens in (3, 35)])

    # What is fused with a layer's sums, for widths that are no multiple of four or of a block, and every form that reads.
    for out, (reader, kernel) in product((1, 2, 3, 6, 37, 131), enumerate((INT8[0], INT8[6], SINGLE[0]))):
        for kind in (*ACTIVATIONS, "add", "multiply", "nothing"):
            for every in (True, False):
                rng = _rng(f"fused {out} {reader} {kind}")
                single = kernel is SINGLE[0]
                factors = rng.uniform(0.2, 3, out).astype(np.float32) if reader == 0 and out % 2 else None
                range_of_reader = None if single else Quantization(-0.6, 3.0, factors)
                first = _layer(rng, (out, 12), INT8[0], 0.7, Grid().quantization)
                last = _layer(rng, (5, out), kernel, 0.8, range_of_reader)
                program = Program([12, out, out, 5], [0], [3])
                program.steps = [Linear(0, 1, **first), Linear(2, 3, **last)]
                if kind in ("add", "multiply"):
                    program.features.append(out)
                    program.inputs.append(4)
                    program.steps.insert(1, (Add if kind == "add" else Multiply)(4, 1, 2))
                elif kind == "nothing":
                    program.steps[1] = Linear(1, 3, **last)
                    program.features[2] = out
                else:
                    program.steps.insert(1, Activation(1, 2, kind))
                if every:
                    _all_outputs(program)
                inputs = [
                    [f32(rng, 1, tokens, program.features[value]) for value in program.inputs] for tokens in (3, 49)
                ]
                name = f"after {out} sums, {kind}, read by {kernel.name} {'f32' if single else 'int8'}"
                yield f"{name}, {'every value' if every else 'fused'}", Case(program, inputs)


def _no_numbers() -> Iterator[tuple[str, Case]]:
    """Two quantizers, of a layer's input and of its sums: what is no number is their lowest step, infinities the ends."""
    identity = {"weights": pack(np.eye(8, dtype=np.int8), INT8[0]), "scales": np.ones(8, np.float32), "bias": None}
    layer = {**identity, "quantization": Quantization(-64.0, 63.5)}
    x = np.zeros((1, 5, 8), np.float32)
    x[0, 1:, 3] = np.nan, -np.inf, np.inf, 1e30
    yield "no numbers, quantized", Case(linear_program([layer], 8), [[x]])
    for kind in ACTIVATIONS:
        yield f"no numbers, {kind}", Case(chain(8, lambda s, t, k=kind: Activation(s, t, k)), [[x]])
    yield "no numbers, LayerNorm", Case(chain(8, lambda s, t: LayerNorm(s, t, None, None, 1e-5)), [[x]])


def _all_outputs(program: Program) -> Program:
    """The same program that returns every value it computes, so that each step can be checked by itself."""
    program.outputs = [step.target for step in program.steps]
    return program


def _tokenwise() -> Iterator[tuple[str, Case]]:
    """Steps on single values and on tokens."""
    # GELU is put together of polynomials: their ends, in steps of the last bit, and many numbers between.
    ends = np.concatenate([(np.arange(32) + 0.5) * 5.4 / 31.5, (np.arange(8) + 0.5) * 5.4 / 7.5]).astype(np.float32)
    near = [np.nextafter(ends, np.float32(side)) for side in (-9, 9)]
    dense = np.concatenate([ends, *near, np.linspace(0, 6, 60001), np.geomspace(1e-38, 1e-2, 399)]).astype(np.float32)
    for kind in ("gelu_erf", "gelu_tanh"):
        program = chain(1, lambda s, t, k=kind: Activation(s, t, k))
        yield f"all of {kind}", Case(program, [[np.concatenate([dense, -dense]).reshape(1, -1, 1)]])

    edges = [0, -0.0, 1e-30, -1e-30, 88, -88, 1e4, -1e4]
    x = np.concatenate([np.linspace(-30, 30, 1331), np.linspace(-4, 4, 1331), edges])
    x = x.astype(np.float32).reshape(1, -1, 10)
    for kind in ACTIVATIONS:
        yield f"activation {kind}", Case(chain(10, lambda s, t, k=kind: Activation(s, t, k)), [[x], [x[:, :3]]])

    rng = _rng("steps")
    for features in (1, 3, 48, 77):
        gamma, beta = f32(rng, features), f32(rng, features)
        program = chain(
            features,
            lambda s, t, g=gamma, b=beta: LayerNorm(s, t, g, b, 1e-5),
            lambda s, t, g=gamma: Affine(s, t, g, None),
            lambda s, t, b=beta: Affine(s, t, None, b),
            lambda s, t, g=gamma, b=beta: Affine(s, t, b, g),
            lambda s, t: Add(s, s, t),
            lambda s, t: Add(0, s, t),
            lambda s, t: Multiply(s, s, t),
            lambda s, t: Multiply(0, s, t),
            lambda s, t, g=gamma: RMSNorm(s, t, g, 1e-6),
            lambda s, t: RMSNorm(s, t, None, 1e-12),
            lambda s, t: FakeQuantize(s, t, -1.7, 2.3),
            lambda s, t: FakeQuantize(s, t, -0.6, 1.1, 16),
            lambda s, t, g=gamma: LayerNorm(s, t, g, None, 1e-12),
            lambda s, t, b=beta: LayerNorm(s, t, None, b, 1e-12),
            lambda s, t: LayerNorm(s, t, None, None, 1e-12),
        )
        inputs = [[f32(rng, *shape, features)] for shape in ((1, 0), (3, 1), (2, 33))]
        yield f"steps of {features} features", Case(_all_outputs(program), inputs)

    # Tokens far from zero, nearly constant or constant: a variance of squares minus square fails here.
    for name, mean, spread in (("large mean", 300.0, 0.5), ("tiny variance", 1.0, 1e-3), ("constant", 0.1, 0.0)):
        rng = _rng(name)
        tokens = (mean * rng.choice([-1, 1], (1, 37, 1)) + spread * rng.normal(size=(1, 37, 768))).astype(np.float32)
        gamma, beta = f32(rng, 768), f32(rng, 768)
        program = chain(768, lambda s, t, g=gamma, b=beta: LayerNorm(s, t, g, b, 1e-5))
        yield f"layer norm, {name}", Case(program, [[tokens]])

    # Values in the middle between two levels, exactly: half goes to even. Range of 255 steps of one half.
    middles = (np.arange(-140, 140, dtype=np.float32) / 2 + np.float32(0.25)).reshape(1, -1, 1)
    identity = {"weights": pack(np.ones((1, 1), np.int8), Kernel("block4")), "scales": np.ones(1, np.float32)}
    layer = {**identity, "bias": None, "quantization": Quantization(-64.0, 63.5)}
    yield "ties of a linear layer", Case(linear_program([layer], 1), [[middles]], exact=True)
    yield "ties of FakeQuantize", Case(chain(1, lambda s, t: FakeQuantize(s, t, -64.0, 63.5)), [[middles]], exact=True)


def _by_heads() -> Iterator[tuple[str, Case]]:
    """Norms and rotations of heads, of sizes that fit no vector, for one table for all sequences and one for each."""
    for heads, depth in ((1, 2), (3, 6), (2, 10), (5, 16), (2, 64), (12, 64)):
        for interleaved in (False, True):
            name = f"heads {heads} of {depth}, {'interleaved' if interleaved else 'halves'}"
            rng = _rng(name)
            features = heads * depth
            program = Program([features, depth, depth, *[features] * 4], [0, 1, 2], [3, 4, 5, 6])
            program.steps = [
                RMSNorm(0, 3, f32(rng, features), 1e-5, heads),
                Rotary(3, 1, 2, 4, heads, interleaved),
                Rotary(0, 2, 1, 5, heads, interleaved),
                # With an attention, an input of one sequence serves all.
                Attention(4, 5, 0, None, 6, heads, 0.1),
            ]
            inputs = []
            for batch, seq in ((1, 1), (3, 17), (2, 33)):
                x = f32(rng, batch, seq, features)
                inputs += [[x, *tables(seq, depth)], [x, *(f32(rng, batch, seq, depth) for _ in range(2))]]
            yield name, Case(program, inputs)

    # Sizes that are no multiple of four, of features that fill whole vectors: what lies behind the last head is another's.
    for heads, depth in ((16, 2), (16, 6), (32, 1), (32, 3)):
        name = f"norm of {heads} heads of {depth} beside another value"
        rng = _rng(name)
        program = Program([heads * depth] * 6, [0], [4, 5])
        program.steps = [
            Activation(0, 1, "relu"),
            Activation(0, 2, "relu"),
            Activation(1, 3, "relu"),
            RMSNorm(3, 4, f32(rng, heads * depth), 1e-5, heads),
            Add(2, 0, 5),
        ]
        yield name, Case(program, [[f32(rng, 1, seq, heads * depth)] for seq in (1, 17, 40)])

    for heads, key_heads, depth in ((2, 1, 8), (6, 2, 5), (4, 4, 6)):
        name = f"attention, {heads} heads of {depth}, {key_heads} of keys"
        rng = _rng(name)
        program = Program([heads * depth, key_heads * depth, key_heads * depth, heads * depth, 0], [0, 1, 2, 4], [3])
        program.steps = [Attention(0, 1, 2, 4, 3, heads, 0.3, key_heads)]
        inputs = []
        for batch, seq in ((1, 3), (2, 40)):
            numbers = [f32(rng, batch, seq, program.features[value]) for value in range(3)]
            inputs.append([*numbers, rng.random((batch, heads, seq, seq)) < 0.7])
        yield name, Case(program, inputs)


def _windows() -> Iterator[tuple[str, Case]]:
    """Keys before a query alone, or near it, with and without a mask besides, of queries and keys in floats and in
    integers, over sequences shorter and longer than the window, a tile, and what is taken at a time.
    """
    for left, right in ((None, 0), (0, None), (3, 3), (0, 0), (40, 5), (64, 64), (200, 1)):
        for kind in ("none", "keys", "pairs", "added"):
            name = f"attention in a window {left} {right}, {kind}"
            rng = _rng(name)
            program = attention_program(2, 9, mask=kind != "none")
            program.steps[0] = replace(program.steps[0], before=left, behind=right)
            many = []
            for batch, seq in ((1, 1), (2, 33), (2, 150), (1, 290)):
                inputs = [f32(rng, batch, seq, 18, scale=1.5) for _ in range(3)]
                if kind == "keys":
                    inputs.append(rng.random((batch, 1, 1, seq)) < 0.7)
                elif kind == "pairs":
                    inputs.append(rng.random((1, 2, seq, seq)) < 0.7)
                elif kind == "added":
                    inputs.append(f32(rng, batch, 2, seq, seq, scale=2))
                many.append(inputs)
            yield name, Case(program, many, mask_type="f32" if kind == "added" else "boolean")


def _attention() -> Iterator[tuple[str, Case]]:
    shapes = (
        # batch, seq, heads, features of a head
        (1, 1, 1, 8),
        (2, 5, 3, 5),
        (3, 32, 1, 16),
        (2, 33, 3, 20),
        (1, 128, 12, 64),
        (3, 17, 2, 32),
        (1, 40, 1, 80),
        (2, 65, 3, 1),
    )
    for batch, seq, heads, depth in shapes:
        for mask in ("none", "keys", "pairs", "heads", "added keys"):
            name = f"attention {batch}x{seq}, {heads} heads of {depth}, {mask}"
            rng = _rng(name)
            inputs = [f32(rng, batch, seq, heads * depth, scale=1.5) for _ in range(3)]
            lengths = rng.integers(1, seq + 1, batch)[:, None, None, None]
            if mask == "keys":
                inputs.append(np.arange(seq)[None, None, None] < lengths)
            elif mask == "pairs":
                pairs = rng.random((batch, 1, seq, seq)) < 0.6
                pairs[0, 0, seq // 2] = False  # a query without keys: zeros
                inputs.append(pairs)
            elif mask == "heads":
                inputs.append(f32(rng, 1, heads, seq, seq, scale=2))
            elif mask == "added keys":
                lowest = np.finfo(np.float32).min
                inputs.append(np.where(np.arange(seq)[None, None, None] < lengths, 0, lowest).astype(np.float32))
            kind = "f32" if mask in ("heads", "added keys") else "boolean"
            yield name, Case(attention_program(heads, depth, mask=mask != "none"), [inputs], mask_type=kind)

    rng = _rng("sizes")
    program = attention_program(2, 8, mask=True)
    many = []
    for batch, seq in ((1, 31), (3, 1), (2, 16), (1, 0), (2, 100), (4, 3)):
        mask = rng.random((batch if seq % 2 else 1, 1, 1, seq)) < 0.7
        many.append([f32(rng, batch, seq, 16) for _ in range(3)] + [mask])
    yield "attention of many sizes", Case(program, many)
    shapes = ((1, 1, 1, 9), (2, 1, 1, 9), (1, 2, 1, 9), (1, 1, 9, 9), (2, 2, 9, 9))
    masks = [rng.random(shape) < 0.6 for shape in shapes]
    same = [f32(rng, 2, 9, 16) for _ in range(3)]
    yield "attention, masks that broadcast", Case(program, [[*same, mask] for mask in masks])
    lowest = np.full((1, 1, 9, 9), np.finfo(np.float32).min)
    lowest[0, 0, :4] = np.tril(np.zeros((4, 9), np.float32) + 1) * lowest[0, 0, :4]
    program = attention_program(2, 8, mask=True)
    yield "attention, queries whose keys all have the lowest number", Case(program, [[*same, lowest]], mask_type="f32")
    large = [f32(rng, 1, 20, 16, scale=30), f32(rng, 1, 20, 16, scale=30), f32(rng, 1, 20, 16)]
    yield "attention, large scores", Case(attention_program(2, 8, mask=False), [large])
    name = "attention, two masks"
    rng, many = _rng(name), []
    for seq in (12, 40, 200):
        numbers = [f32(rng, 1, seq, 16) for _ in range(3)]
        last = np.broadcast_to(np.arange(seq) < seq - 5, (1, 1, seq, seq)).copy()
        some = rng.random((1, 1, seq, seq)) < 0.8
        many += [[*numbers, some, last], [*numbers, last, some], [*numbers, last, last]]
    yield name, Case(relative_program(2, 8, terms="", masks=2), many)
    itself = Program([16, 16], [0], [1], [attention_program(2, 8, mask=False).steps[0]])
    itself.steps[0] = type(itself.steps[0])(0, 0, 0, None, 1, 2, 0.35)
    yield "attention of one value", Case(itself, [[f32(rng, 2, 33, 16)]])


def _long_attention() -> Iterator[tuple[str, Case]]:
    """More keys than the engine takes at a time (128): what was added up before is scaled when a larger score comes."""
    lowest = np.finfo(np.float32).min
    for batch, seq, heads, depth in ((1, 127, 2, 8), (2, 129, 1, 20), (1, 257, 3, 9), (2, 300, 2, 16), (1, 700, 1, 8)):
        name = f"long attention {batch}x{seq}, {heads} heads of {depth}"
        rng = _rng(name)
        size = heads * depth
        # Later keys have larger scores in one run, smaller ones in the other.
        growth = np.linspace(0.1, 2.5, seq, dtype=np.float32)[:, None]
        query, key, value = (f32(rng, batch, seq, size) for _ in range(3))
        lengths = rng.integers(1, seq + 1, batch)[:, None, None, None]
        early = np.arange(seq)[None, None, None] >= seq - lengths  # whole blocks before the first key
        pairs = rng.random((batch, heads, seq, seq)) < 0.4
        pairs[..., seq // 3, :] = False  # no key at all: zeros
        pairs[..., seq // 2, : seq - 2] = False
        pairs[..., seq // 4, 2:] = False
        whole = np.broadcast_to(early, (batch, 1, seq, seq)).copy()
        for run, keys in (("up", key * growth), ("down", key * growth[::-1])):
            inputs = [query, np.ascontiguousarray(keys, np.float32), value]
            yield f"{name}, {run}", Case(attention_program(heads, depth, mask=False), [inputs])
            program = attention_program(heads, depth, mask=True)
            masks = [early, pairs, pairs[:1], pairs[:, :1], pairs[:1, :1], pairs[:1, :1, :, :1], whole]
            yield f"{name}, {run}, boolean", Case(program, [[*inputs, np.ascontiguousarray(m)] for m in masks])
            added = f32(rng, batch, heads, seq, seq, scale=2)
            low = np.where(pairs, np.float32(0), lowest)
            low[..., seq // 3, :] = lowest
            masks = [
                added,
                added[:1],
                added[:, :1],
                added[:, :, :1],
                added[:, :, :, :1],
                low,
                np.where(whole, 0, lowest),
            ]
            masks = [np.ascontiguousarray(mask, np.float32) for mask in masks]
            yield f"{name}, {run}, added", Case(program, [[*inputs, mask] for mask in masks], mask_type="f32")


def _relative_attention() -> Iterator[tuple[str, Case]]:
    """What the distance of query and key adds: in linear places and in buckets, which several distances share."""
    shapes = (
        (1, 1, 1, 8),
        (2, 5, 3, 5),
        (1, 33, 2, 20),
        (2, 47, 1, 8),
        (1, 128, 2, 64),
        (1, 300, 1, 9),
        (1, 50, 2, 150),
    )
    for batch, seq, heads, depth in shapes:
        for terms, masks in (("q", 0), ("k", 1), ("qk", 1), ("qk", 2)):
            name = f"relative attention {batch}x{seq}, {heads} heads of {depth}, {terms} and {masks} masks"
            rng = _rng(name)
            inputs = [f32(rng, batch, seq, heads * depth, scale=1.5) for _ in range(3)]
            for _ in terms:
                rows = int(rng.integers(1, 2 * seq + 1))
                places = np.clip(np.arange(1 - seq, seq) + rows // 2, 0, rows - 1)
                if rng.random() < 0.5:
                    places = rng.integers(0, rows, 2 * seq - 1)
                inputs += [f32(rng, 1, heads, rows, depth), places.astype(np.int32).reshape(1, 1, 1, -1)]
            lowest = np.where(np.arange(seq) < rng.integers(1, seq + 1), 0, np.finfo(np.float32).min)
            for shape in ((batch, 1, 1, seq), (1, heads, seq, seq))[:masks]:
                inputs.append(np.float32(lowest.reshape(1, 1, 1, -1)) + f32(rng, *shape))
            yield name, Case(relative_program(heads, depth, terms=terms, masks=masks), [inputs], mask_type="f32")
    rng = _rng("relative attention of many sizes")
    program, many = relative_program(2, 8, masks=1), []
    for batch, seq in ((1, 31), (3, 1), (2, 16), (1, 0), (2, 100), (4, 3)):
        relative = [f32(rng, 1, 2, 7, 8), rng.integers(0, 7, (1, 1, 1, max(2 * seq - 1, 0))).astype(np.int32)] * 2
        mask = rng.random((batch, 1, 1, seq)) < 0.7
        many.append([f32(rng, batch, seq, 16) for _ in range(3)] + relative + [mask])
    yield "relative attention of many sizes", Case(program, many)


def _integer_attention() -> Iterator[tuple[str, Case]]:
    """Layers whose outputs are quantized before they meet as queries and keys, so that 8-bit numbers can meet instead.

    Every number up to the scores is exact: the tolerance is that of one softmax.
    """
    shapes = (
        (1, 1, 1, 8),
        (2, 5, 3, 5),
        (3, 33, 3, 20),
        (1, 128, 12, 64),
        (2, 40, 1, 2),
        (1, 70, 2, 80),
        (1, 270, 2, 16),
        (1, 161, 3, 26),
    )
    for (batch, seq, heads, depth), zeros in product(shapes, ((128, 128), (0, 255), (77, 140), (100, 3.5))):
        name = f"integer attention {batch}x{seq}, {heads} heads of {depth}, zeros {zeros}"
        rng = _rng(name)
        width, features = 16, heads * depth
        grid, size = Grid(), 2.0**-4
        layers = [_layer(rng, (features, width), INT8[0], 0.6, grid.quantization, exact=True) for _ in range(3)]
        program = Program([width, *[features] * 6, 0], [0, 7], [6])
        program.steps = [
            *(Linear(0, target, **arguments) for target, arguments in zip((1, 2, 3), layers)),
            *(
                FakeQuantize(source, source + 3, -zero * size, (255 - zero) * size)
                for source, zero in zip((1, 2), zeros)
            ),
            Attention(4, 5, 3, 7, 6, heads, depth**-0.5 / 8),
        ]
        lengths = rng.integers(1, seq + 1, batch)[:, None, None, None]
        masks = [np.arange(seq)[None, None, None] < lengths, rng.random((1, heads, seq, seq)) < 0.5]
        inputs = [[grid.activations(rng, batch, seq, width), mask] for mask in masks]
        yield name, Case(program, inputs, integer_scores=zeros != (100, 3.5))


def _integer_relative_attention() -> Iterator[tuple[str, Case]]:
    """Relative positions of queries and keys that meet as 8-bit numbers."""
    for batch, seq, heads, depth in ((2, 5, 3, 5), (1, 70, 2, 16), (1, 161, 3, 26)):
        name = f"integer relative attention {batch}x{seq}, {heads} heads of {depth}"
        rng = _rng(name)
        width, features, rows = 16, heads * depth, 9
        grid, size = Grid(), 2.0**-4
        layers = [_layer(rng, (features, width), INT8[0], 0.6, grid.quantization, exact=True) for _ in range(3)]
        program = Program([width, *[features] * 6, *[0] * 7], [0, 7, 8, 9], [6])
        program.steps = [
            *(Linear(0, target, **arguments) for target, arguments in zip((1, 2, 3), layers)),
            *(FakeQuantize(i, i + 3, -zero * size, (255 - zero) * size) for i, zero in ((1, 77), (2, 140))),
            RelativePositions(4, 7, 8, 10, heads, 0.02, False),
            RelativePositions(5, 7, 8, 11, heads, 0.03, True),
            Bias(10, 9, 12),
            Bias(12, 11, 13),
            Attention(4, 5, 3, 13, 6, heads, depth**-0.5 / 8),
        ]
        places = rng.integers(0, rows, (1, 1, 1, 2 * seq - 1)).astype(np.int32)
        mask = np.where(np.arange(seq) < seq - 2, 0, -1e4).astype(np.float32).reshape(1, 1, 1, -1)
        inputs = [grid.activations(rng, batch, seq, width), f32(rng, 1, heads, rows, depth), places, mask]
        yield name, Case(program, [inputs], mask_type="f32", integer_scores=True)


def _layers() -> Iterator[tuple[str, Case]]:
    """Whole BERT layers: every step is an output, or only the last, which lets the engine fuse."""
    kinds = {
        "static": {},
        "dynamic": {"quantization": "dynamic"},
        "smooth": {"quantization": "smooth"},
        "element": {"kernel": INT8[6], "density": 0.15},
        "rows": {"kernel": INT8[9], "density": 0.3},
        "dense": {"density": 1.0},
        "f32": {"kernel": None},
        "unmasked": {"mask": False},
        "integer": {"quantized_keys": True},
    }
    for name, options in kinds.items():
        for every in (True, False):
            rng = _rng(name)
            program = encoder_layer(rng, every_value=every, **options)
            inputs = []
            for batch, seq in ((1, 1), (2, 13), (1, 33), (3, 40)):
                x = f32(rng, batch, seq, 48)
                lengths = rng.integers(1, seq + 1, batch)[:, None, None, None]
                mask = np.arange(seq)[None, None, None] < lengths
                inputs.append([x, mask] if options.get("mask", True) else [x])
            yield f"layer {name}, {'every value' if every else 'fused'}", Case(program, inputs)


def _gated_layers() -> Iterator[tuple[str, Case]]:
    """Layers with norms by heads, rotations, shared keys and a gated product."""
    for interleaved, quantized in product((False, True), repeat=2):
        for every in (True, False):
            kind = f"{'interleaved' if interleaved else 'halves'}{', integer' if quantized else ''}"
            rng = _rng(f"gated {kind}")
            program = gated_layer(rng, interleaved=interleaved, quantized_keys=quantized, every_value=every)
            inputs = []
            for batch, seq in ((1, 5), (3, 35)):
                mask = np.tril(np.ones((seq, seq), bool)) & (rng.random((batch, 1, 1, seq)) < 0.8)
                inputs.append([f32(rng, batch, seq, 24), *tables(seq, 12, interleaved=interleaved), mask])
            yield f"layer gated {kind}, {'every value' if every else 'fused'}", Case(program, inputs)


def _waiting() -> Iterator[tuple[str, Case]]:
    """What is computed before an attention is read only after it: by a layer, an activation, a residual."""
    for every in (True, False):
        rng = _rng("waiting")
        static, dynamic = Quantization(-2.0, 2.1), Quantization(None, None)
        made = [_layer(rng, (12, 12), INT8[0], 0.5, quantization) for quantization in (static, static, static, dynamic)]
        program = Program([12] * 11, [0], list(range(1, 11)) if every else [10])
        program.steps = [
            *(Linear(0, target, **arguments) for target, arguments in zip((1, 2, 3), made)),
            Attention(0, 0, 0, None, 4, 3, 0.5),
            Linear(1, 5, **made[0]),
            Activation(2, 6, "relu"),
            Linear(6, 7, **made[3]),
            Add(3, 4, 8),
            Add(5, 7, 9),
            Add(8, 9, 10),
        ]
        inputs = [[f32(rng, 1, 5, 12)], [f32(rng, 2, 35, 12)]]
        yield f"waiting for attention, {'every value' if every else 'fused'}", Case(program, inputs)


def _random() -> Iterator[tuple[str, Case]]:
    """Programs that no model has: whatever the engine fuses, hands on or keeps shows in the values that are asked for."""
    for number in range(40):
        for every in (True, False):
            rng = _rng(f"random {number}")
            program = random_program(rng)
            inputs = []
            for batch, seq in ((1, 5), (2, 35)):
                x = [f32(rng, batch, seq, 12) for _ in range(2)]
                inputs.append(x + [rng.random((batch, 1, 1, seq)) < 0.8 for _ in program.inputs[2:]])
            if not every:
                program.outputs = [program.outputs[-1], *rng.choice(program.outputs[:-1], 2, replace=False).tolist()]
            yield f"random {number}, {'every value' if every else 'fused'}", Case(program, inputs)


def fits(case: Case) -> bool:
    """Whether every integer sum of an exact case's first step has at most 24 bits, as the cases' names promise."""
    return all(
        np.abs(dense(step.weights).astype(np.int64)).sum(1).max() * 255 < 2**24
        for step in case.program.steps
        if isinstance(step, Linear)
    )


def in_bfloat16(name: str) -> bool:
    """Whether a case is also run where the op may compute in bfloat16."""
    return bool(re.match("layer (?!norm)", name)) or "attention" in name and not name.startswith("waiting")


#: Compiling costs OpenVINO the same for one operation as for many.
_TOGETHER = 50


def _outputs(named: list[tuple[str, Case]], precision: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every output of every list of inputs, by name, number of the list and position, of cases compiled together."""
    ops = [op_model(case.program, mask_type=case.mask_type, precision=precision) for _, case in named]
    compiled = compile_ops(ops)
    for number in range(max(len(case.inputs) for _, case in named)):
        # A case with fewer lists is given its last one again.
        given = [case.inputs[min(number, len(case.inputs) - 1)] for _, case in named]
        found = iter(infer(compiled, [array for inputs in given for array in inputs]))
        for name, case in named:
            outputs = [next(found) for _ in case.program.outputs]
            if number < len(case.inputs):
                yield from ((f"{name}|{number}|{position}", output) for position, output in enumerate(outputs))


def main(path: str) -> None:
    arrays = {}
    for precision, prefix in (("f32", ""), ("bf16", "bf16 ")):
        named = [(name, case) for name, case in cases().items() if precision == "f32" or in_bfloat16(name)]
        for begin in range(0, len(named), _TOGETHER):
            outputs = _outputs(named[begin : begin + _TOGETHER], precision)
            arrays |= {prefix + key: output for key, output in outputs}
    from optkit.runtime import extension

    np.savez(path, isa=np.array(extension.isa()), **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
