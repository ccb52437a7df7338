"""Programs to run in tests, random but the same every time, and the op of one as an OpenVINO model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from reference import dense

from optkit.ir.io import import_openvino
from optkit.runtime.packing import encode, pack
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
    Quantization,
    RelativePositions,
    RMSNorm,
    Rotary,
)

ROWS = (1, 2, 4, 8, 16, 32)
INT8 = tuple(Kernel(name, rows) for name in ("block4", "element") for rows in ROWS)
SINGLE = tuple(Kernel("element", rows) for rows in ROWS)

#: The plainest way to run: one precision, and no stream but the caller's.
CONFIG = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


def weights(rng: np.random.Generator, shape: tuple[int, int], kernel: Kernel, density: float, *, single=False):
    """PackedWeights (out, in) with about ``density`` of the kernel's blocks; int8 ones use the whole range."""
    values = rng.integers(-128, 128, shape).astype(np.int8)
    if single:
        values = rng.normal(size=shape).astype(np.float32)
    steps = (kernel.rows, kernel.columns)
    blocks = rng.random([-(-size // step) for size, step in zip(shape, steps)]) < density
    keep = np.kron(blocks, np.ones(steps, bool))[: shape[0], : shape[1]]
    return pack(values * keep, kernel)


def f32(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (rng.normal(size=shape) * scale).astype(np.float32)


def scales(rng: np.random.Generator, packed: PackedWeights, *, exact=False) -> np.ndarray | None:
    """float32 (out,), positive, of the size that gives sums near 1; ``exact``: powers of two. None for float32."""
    if packed.values.dtype == np.float32:
        return None
    if exact:
        return np.ldexp(np.float32(1), rng.integers(-9, -5, packed.shape[0])).astype(np.float32)
    return (rng.uniform(0.5, 2, packed.shape[0]) / 128 / np.sqrt(packed.shape[1])).astype(np.float32)


@dataclass(frozen=True)
class Grid:
    """A static quantization whose range is exact in float32: ``low = -zero * size``, 255 steps of a power of two."""

    zero: int = 128
    size: float = 2.0**-5

    @property
    def quantization(self) -> Quantization:
        return Quantization(-self.zero * self.size, (255 - self.zero) * self.size)

    def activations(self, rng: np.random.Generator, *shape: int) -> np.ndarray:
        """Values that no quantizer can round in two ways: within 0.4 steps of one of its 256 levels."""
        levels = rng.integers(0, 256, shape) - self.zero + rng.uniform(-0.4, 0.4, shape)
        return (levels * self.size).astype(np.float32)


def chain(features: int, *steps) -> Program:
    """A program of one input; each of ``steps`` makes a step from (source, target), or a pair (its features, maker)."""
    program = Program()
    at = program.value(features)
    program.inputs.append(at)
    for step in steps:
        features, make = step if isinstance(step, tuple) else (features, step)
        target = program.value(features)
        program.steps.append(make(at, target))
        at = target
    program.outputs.append(at)
    return program


def linear_program(layers: list[dict], features: int) -> Program:
    """Linear layers side by side on one input; each of ``layers`` holds the arguments of Linear but source, target."""
    program = Program()
    source = program.value(features)
    program.inputs.append(source)
    for layer in layers:
        target = program.value(layer["weights"].shape[0])
        program.steps.append(Linear(source, target, **layer))
        program.outputs.append(target)
    return program


def attention_program(heads: int, depth: int, *, mask: bool, scale: float | None = None) -> Program:
    """Attention of three inputs, and of a mask as the fourth."""
    program = Program([heads * depth] * 4, [0, 1, 2], [3])
    number = program.value(0) if mask else None
    if mask:
        program.inputs.append(number)
    program.steps.append(Attention(0, 1, 2, number, 3, heads, depth**-0.5 if scale is None else scale))
    return program


def relative_program(heads: int, depth: int, *, terms: str = "qk", masks: int = 1) -> Program:
    """Attention of three inputs, to whose scores relative positions of queries (``q``) and keys (``k``) are added.

    Inputs: query, key, value; a table and its places for each of ``terms``; ``masks`` masks.
    """
    size = heads * depth
    program = Program([size] * 4, [0, 1, 2], [3])
    added = None

    def add(number: int) -> None:
        nonlocal added
        if added is not None:
            program.steps.append(Bias(added, number, program.value(0)))
            number = program.steps[-1].target
        added = number

    for term in terms:
        table, places, target = (program.value(0) for _ in range(3))
        program.inputs += [table, places]
        content = "qk".index(term)
        program.steps.append(RelativePositions(content, table, places, target, heads, 0.3, bool(content)))
        add(target)
    for _ in range(masks):
        program.inputs.append(program.value(0))
        add(program.inputs[-1])
    program.steps.append(Attention(0, 1, 2, added, 3, heads, depth**-0.5))
    return program


def encoder_layer(
    rng: np.random.Generator,
    hidden: int = 48,
    heads: int = 3,
    inner: int = 104,
    kernel: Kernel | None = INT8[0],
    density: float = 0.4,
    *,
    quantization: str = "static",
    mask: bool = True,
    quantized_keys: bool = False,
    every_value: bool = False,
) -> Program:
    """A whole BERT layer: Q, K, V, attention, projection, residual, LayerNorm, FFN with GELU, residual, LayerNorm.

    Args:
        kernel: of the linear layers; None for float32 ones.
        quantization: ``static``, ``dynamic`` or ``smooth`` (static, with SmoothQuant factors).
        quantized_keys: queries and keys are on grids with a zero, as NNCF leaves them; else only queries, without.
        every_value: all computed values are outputs; else only the last.
    """
    program = Program()

    def linear(source: int, out: int, reach: float) -> int:
        single = kernel is None
        packed = weights(rng, (out, program.features[source]), kernel or SINGLE[0], density, single=single)
        chosen = None
        if not single:
            factors = rng.uniform(0.7, 1.4, packed.shape[1]).astype(np.float32) if quantization == "smooth" else None
            low, high = (None, None) if quantization == "dynamic" else (-reach, reach * 1.03)
            chosen = Quantization(low, high, factors)
        elif density:
            packed = pack(dense(packed) / np.float32(np.sqrt(density * packed.shape[1])), SINGLE[0])
        target = program.value(out)
        program.steps.append(
            Linear(source, target, packed, scales(rng, packed), f32(rng, out, scale=0.1), chosen),
        )
        return target

    def step(make, features: int = hidden) -> int:
        target = program.value(features)
        program.steps.append(make(target))
        return target

    def norm(left: int, right: int) -> int:
        total = step(lambda target: Add(left, right, target))
        gamma, beta = 1 + f32(rng, hidden, scale=0.1), f32(rng, hidden, scale=0.1)
        return step(lambda target: LayerNorm(total, target, gamma, beta, 1e-12))

    x = program.value(hidden)
    masked = program.value(0) if mask else None
    program.inputs = [x, masked] if mask else [x]
    query, key, value = (linear(x, hidden, 4.0) for _ in range(3))
    low, high = (-3.0, 3.0 * 127 / 128) if quantized_keys else (-3.0, 3.1)
    query = step(lambda target, source=query: FakeQuantize(source, target, low, high))
    if quantized_keys:
        key = step(lambda target, source=key: FakeQuantize(source, target, -0.02 * 140, 0.02 * 115))
    context = step(lambda target: Attention(query, key, value, masked, target, heads, (hidden // heads) ** -0.5))
    middle = norm(linear(context, hidden, 2.0), x)
    wide = linear(middle, inner, 4.0)
    gelu = step(lambda target: Activation(wide, target, "gelu_erf"), inner)
    last = norm(linear(gelu, hidden, 2.0), middle)
    program.outputs = [value.target for value in program.steps] if every_value else [last]
    return program


def gated_layer(
    rng: np.random.Generator,
    hidden: int = 24,
    heads: int = 4,
    key_heads: int = 2,
    depth: int = 12,
    inner: int = 40,
    *,
    interleaved: bool = False,
    quantized_keys: bool = True,
    every_value: bool = False,
) -> Program:
    """A layer of today's embedders: RMSNorm, query and key normalised by heads and rotated, shared keys and values,
    a residual, RMSNorm, and a gated product. Inputs: tokens, cosines, sines, a mask.
    """
    program = Program()

    def step(make, features: int) -> int:
        target = program.value(features)
        program.steps.append(make(target))
        return target

    def linear(source: int, out: int) -> int:
        packed = weights(rng, (out, program.features[source]), INT8[0], 0.5)
        chosen = Quantization(-3.0, 3.1)
        return step(lambda target: Linear(source, target, packed, scales(rng, packed), None, chosen), out)

    def norm(source: int, heads: int = 1) -> int:
        features = program.features[source]
        gamma = 1 + f32(rng, features, scale=0.1)
        return step(lambda target: RMSNorm(source, target, gamma, 1e-6, heads), features)

    def rotated(source: int, heads: int) -> int:
        normal = norm(source, heads)
        features = program.features[source]
        turned = step(lambda target: Rotary(normal, cosines, sines, target, heads, interleaved), features)
        if not quantized_keys:
            return turned
        return step(lambda target: FakeQuantize(turned, target, -4.0, 4.0 * 127 / 128), features)

    x, cosines, sines, mask = (program.value(features) for features in (hidden, depth, depth, 0))
    program.inputs = [x, cosines, sines, mask]
    normal = norm(x)
    query, key, value = (linear(normal, each * depth) for each in (heads, key_heads, key_heads))
    query, key = rotated(query, heads), rotated(key, key_heads)
    context = step(
        lambda target: Attention(query, key, value, mask, target, heads, depth**-0.5, key_heads), heads * depth
    )
    projected = linear(context, hidden)
    middle = step(lambda target: Add(x, projected, target), hidden)
    normal = norm(middle)
    gate = linear(normal, inner)
    gate = step(lambda target: Activation(gate, target, "silu"), inner)
    wide = linear(normal, inner)
    product = step(lambda target: Multiply(gate, wide, target), inner)
    narrow = linear(product, hidden)
    last = step(lambda target: Add(middle, narrow, target), hidden)
    program.outputs = [each.target for each in program.steps] if every_value else [last]
    return program


def tables(length: int, depth: int, *, interleaved: bool = False) -> list[np.ndarray]:
    """Cosines and sines of a rotary embedding, (1, length, depth) each."""
    angles = np.arange(length)[:, None] / 100.0 ** (np.arange(0, depth, 2) / depth)
    angles = np.repeat(angles, 2, axis=1) if interleaved else np.tile(angles, 2)
    return [np.cos(angles)[None].astype(np.float32), np.sin(angles)[None].astype(np.float32)]


def random_program(rng: np.random.Generator, steps: int = 14) -> Program:
    """Steps of every kind on values of few widths, with masks and residuals wherever they happen to fit; each step's
    target is an output. Two inputs of 12 features, then the masks of one attention each."""
    program = Program()
    values = [program.value(12), program.value(12)]
    masks = []

    def pick(features: int | None = None) -> int:
        fitting = [value for value in values if features in (None, program.features[value])]
        return fitting[-1] if rng.random() < 0.5 else fitting[rng.integers(len(fitting))]

    def step(kind: int, source: int, target: int):
        features = program.features[source]
        match kind:
            case 0:
                return Activation(source, target, list(ACTIVATIONS)[rng.integers(len(ACTIVATIONS))])
            case 1:
                return Affine(source, target, f32(rng, features), f32(rng, features) if rng.random() < 0.5 else None)
            case 2:
                return FakeQuantize(source, target, -2.0, 2.1)
            case 3 if rng.random() < 0.5:
                return RMSNorm(source, target, f32(rng, features), 1e-5, int(rng.choice([1, 2, 4])))
            case 3:
                return LayerNorm(source, target, f32(rng, features), None, 1e-5)
            case 4 if rng.random() < 0.5:
                return Multiply(*rng.permutation([source, pick(features)]).tolist(), target)
            case 4 | 5:
                return Add(*rng.permutation([source, pick(features)]).tolist(), target)
            case _:
                masks.append(program.value(0))
                return Attention(source, pick(features), pick(features), masks[-1], target, 4, 0.5)

    for _ in range(steps):
        kind, source = rng.integers(12), pick()
        if kind > 6:
            single, kernel = kind == 7, INT8[rng.integers(len(INT8))]
            shape = (int(rng.choice([12, 12, 20, 72])), program.features[source])
            packed = weights(rng, shape, SINGLE[rng.integers(len(SINGLE))] if single else kernel, 0.5, single=single)
            chosen = None if single else Quantization(None, None) if kind == 8 else Quantization(-2.0, 2.1)
            target = program.value(shape[0])
            made = Linear(source, target, packed, scales(rng, packed), f32(rng, shape[0], scale=0.1), chosen)
        else:
            target = program.value(program.features[source])
            made = step(kind, source, target)
        program.steps.append(made)
        values.append(target)
    program.inputs = [0, 1, *masks]
    program.outputs = [made.target for made in program.steps]
    return program


def op_model(
    program: Program,
    shapes: list | None = None,
    mask_type: str = "boolean",
    value_type: str = "f32",
    precision: str | None = None,
):
    """An OpenVINO model of the program's op alone: one Parameter per input, one Result per output.

    Args:
        shapes: of the inputs; None: any number of any dimensions before the features, (?, ?, ?, ?) for masks.
        mask_type: ``boolean``, ``f32``, ``f16`` or ``bf16``.
        value_type: of the other inputs: ``f32``, ``f16`` or ``bf16``.
        precision: the op's attribute: what it may compute in, ``f32`` or ``bf16``; None leaves it away.
    """
    from optkit.runtime import extension

    openvino = import_openvino()
    parameters = []
    for position, number in enumerate(program.inputs):
        features = program.features[number]
        shape = openvino.PartialShape([-1] * 4)
        if shapes is not None:
            shape = openvino.PartialShape(shapes[position])
        elif features:
            shape = openvino.PartialShape([-1, -1, features])
        kind = getattr(openvino.Type, _input_type(program, number, mask_type, value_type))
        parameters.append(openvino.op.Parameter(kind, shape))
    node = extension.create_node([parameter.output(0) for parameter in parameters], encode(program), "program")
    if precision is not None:
        node.set_attribute("inference_precision", precision)
    results = [openvino.opset13.result(output) for output in node.outputs()]
    return openvino.Model(results, parameters, "program")


def _input_type(program: Program, number: int, mask_type: str, value_type: str) -> str:
    relative = [step for step in program.steps if isinstance(step, RelativePositions)]
    if any(number == step.places for step in relative):
        return "i32"
    values = bool(program.features[number]) or any(number == step.table for step in relative)
    return value_type if values else mask_type


def compile_op(program: Program, config: dict | None = None, **options):
    """The op alone, compiled for the CPU."""
    return import_openvino().Core().compile_model(op_model(program, **options), "CPU", {**CONFIG, **(config or {})})


def compile_ops(models: list):
    """What ``op_model`` gave, as one model for the CPU, with the inputs and outputs of all in that order."""
    openvino = import_openvino()
    results = [result for model in models for result in model.get_results()]
    parameters = [parameter for model in models for parameter in model.get_parameters()]
    return openvino.Core().compile_model(openvino.Model(results, parameters, "programs"), "CPU", CONFIG)


def infer(compiled, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs, copied out of the request."""
    request = compiled.create_infer_request()
    results = request.infer(inputs)
    return [np.array(results[output]) for output in compiled.outputs]


def quantized_model(range_of_weights: int = 60):
    """An OpenVINO model of two int8 layers as NNCF leaves them: FakeQuantize -2.0 .. 2.1 before each, Convert and
    Multiply behind the weights, three quarters of whose 1x4 blocks are zeros. Input (?, 24), output (?, 8)."""
    openvino = import_openvino()
    ops, rng = openvino.opset13, np.random.default_rng(8)
    x = ops.parameter([-1, 24], np.float32, name="x")
    node = x
    for name, (out, width) in {"first": (32, 24), "second": (8, 32)}.items():
        ends = [np.float32(-2.0), np.float32(2.1)]
        node = ops.fake_quantize(node, *ends, *ends, 256)
        values = rng.integers(-range_of_weights, range_of_weights, (out, width))
        values *= np.repeat(rng.random((out, width // 4)) < 0.25, 4, axis=1)
        scale = ops.constant(rng.uniform(0.005, 0.01, (out, 1)).astype(np.float32))
        stored = ops.convert(ops.constant(values.astype(np.int8)), "f32")
        node = ops.matmul(node, ops.multiply(stored, scale), False, True, name=name)
    return openvino.Model([ops.result(node, name="y")], [x], "quantized")
