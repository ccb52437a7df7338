"""The numpy meaning of a Program against OpenVINO's own operators, so that the engine is held to the right thing."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from programs import (
    CONFIG,
    INT8,
    SINGLE,
    attention_program,
    chain,
    encoder_layer,
    f32,
    gated_layer,
    quantized_model,
    tables,
    weights,
)

from optkit.ir.emulation import emulate_f32
from optkit.ir.io import import_openvino
from optkit.runtime.packing import pack
from optkit.runtime.program import (
    ACTIVATIONS,
    Activation,
    Add,
    Affine,
    Attention,
    FakeQuantize,
    Kernel,
    LayerNorm,
    Linear,
    Multiply,
    Program,
    Quantization,
    RMSNorm,
    Rotary,
)

openvino = import_openvino()
ops = openvino.opset13


def plain(program: Program, mask=(openvino.Type.boolean, [-1, -1, -1, -1])):
    """``program`` made of OpenVINO's operators, in float32; every computed value is an output, in the order of steps."""
    values = {}
    for number in program.inputs:
        kind, shape = (openvino.Type.f32, [-1, -1, program.features[number]]) if program.features[number] else mask
        values[number] = openvino.op.Parameter(kind, openvino.PartialShape(shape))
    parameters = [values[number] for number in program.inputs]
    for step in program.steps:
        values[step.target] = _operator(step, values, program.features)
    results = [ops.result(values[step.target]) for step in program.steps]
    return openvino.Model(results, parameters, "plain")


def _operator(step, values, features):
    match step:
        case Linear():
            x, quantization = values[step.source], step.quantization
            matrix = reference.dense(step.weights).astype(np.float32)
            if quantization is not None:
                matrix = matrix * step.scales[:, None]
                if quantization.channel_scale is not None:
                    x = ops.multiply(x, quantization.channel_scale)
                x = _fake_quantize(x, quantization.low, quantization.high, 256)
            product = ops.matmul(x, ops.constant(matrix), False, True)
            return product if step.bias is None else ops.add(product, step.bias)
        case Activation():
            x = values[step.source]
            return {
                "gelu_erf": lambda: ops.gelu(x, "erf"),
                "gelu_tanh": lambda: ops.gelu(x, "tanh"),
                "silu": lambda: ops.swish(x),
                "relu": lambda: ops.relu(x),
                "tanh": lambda: ops.tanh(x),
                "sigmoid": lambda: ops.sigmoid(x),
            }[step.kind]()
        case Affine():
            x = values[step.source] if step.scale is None else ops.multiply(values[step.source], step.scale)
            return x if step.shift is None else ops.add(x, step.shift)
        case FakeQuantize():
            return _fake_quantize(values[step.source], step.low, step.high, step.levels)
        case Add():
            return ops.add(values[step.left], values[step.right])
        case LayerNorm():
            x = ops.mvn(values[step.source], np.array([-1]), True, step.epsilon, "inside_sqrt")
            x = x if step.gamma is None else ops.multiply(x, step.gamma)
            return x if step.beta is None else ops.add(x, step.beta)
        case Multiply():
            return ops.multiply(values[step.left], values[step.right])
        case RMSNorm():
            x = _apart(values[step.source], step.heads, features[step.source])
            squares = ops.reduce_mean(ops.multiply(x, x), np.array([-1]), True)
            x = ops.divide(x, ops.sqrt(ops.add(squares, np.float32(step.epsilon))))
            x = ops.reshape(x, np.array([0, 0, features[step.source]]), True)
            return x if step.gamma is None else ops.multiply(x, step.gamma)
        case Rotary():
            return _rotary(step, values, features[step.source])
        case Attention():
            order, key_heads = ops.constant(np.array([0, 2, 1, 3])), step.key_heads or step.heads
            heads = [
                ops.transpose(_apart(values[source], own, features[source]), order)
                for source, own in ((step.query, step.heads), (step.key, key_heads), (step.value, key_heads))
            ]
            repeated = ops.constant(np.repeat(np.arange(key_heads), step.heads // key_heads))
            heads[1:] = (ops.gather(each, repeated, ops.constant(1)) for each in heads[1:])
            mask = ops.constant(np.zeros((1, 1, 1, 1), np.float32)) if step.mask is None else values[step.mask]
            product = ops.scaled_dot_product_attention(*heads, mask, np.float32(step.scale))
            merged = ops.constant(np.array([0, 0, features[step.target]]))
            return ops.reshape(ops.transpose(product, order), merged, True)


def _apart(x, heads, features):
    return ops.reshape(x, np.array([0, 0, heads, features // heads]), True)


def _rotary(step, values, features):
    """By complex numbers: each pair times cos + i sin, where its two angles are one."""
    x, size = values[step.source], features // step.heads
    cosines, sines = (ops.unsqueeze(values[each], np.array(2)) for each in (step.cosines, step.sines))
    pairs = np.arange(size).reshape((-1, 2) if step.interleaved else (2, -1))
    first, second = pairs.T if step.interleaved else pairs
    pick = [(ops.constant(each), ops.constant(3)) for each in (first, second)]
    real, imaginary = (ops.gather(_apart(x, step.heads, features), *each) for each in pick)
    cosine, sine = (ops.gather(each, *pick[0]) for each in (cosines, sines))
    turned = ops.concat(
        [
            ops.subtract(ops.multiply(real, cosine), ops.multiply(imaginary, sine)),
            ops.add(ops.multiply(real, sine), ops.multiply(imaginary, cosine)),
        ],
        3,
    )
    places = np.argsort(np.concatenate([first, second]))
    turned = ops.gather(turned, ops.constant(places), ops.constant(3))
    return ops.reshape(turned, np.array([0, 0, features]), True)


def _fake_quantize(x, low, high, levels):
    ends = [np.float32(low), np.float32(high)]
    return ops.fake_quantize(x, *ends, *ends, levels)


def assert_agree(program: Program, inputs: list[np.ndarray], **options) -> None:
    """Every step agrees with OpenVINO's operator within its tolerance, given OpenVINO's own values of its sources."""
    compiled = openvino.Core().compile_model(plain(program, **options), "CPU", CONFIG)
    results = compiled.create_infer_request().infer(inputs)
    values = dict(zip(program.inputs, inputs))
    for step, output in zip(program.steps, compiled.outputs):
        values[step.target] = np.array(results[output])
        expected, allowed = reference.compute(step, values), reference.tolerance(step, values)
        assert np.all(np.abs(values[step.target] - expected) <= allowed + 1e-30), type(step).__name__


@pytest.mark.parametrize("kernel", [*INT8, *SINGLE], ids=lambda kernel: f"{kernel.name}{kernel.rows}")
@pytest.mark.parametrize("shape", [(1, 1), (9, 13), (33, 70), (64, 64)], ids=str)
def test_unpacking_undoes_packing(kernel, shape):
    rng = np.random.default_rng(1)
    values = rng.integers(-128, 128, shape).astype(np.int8) * (rng.random(shape) < 0.2)
    values = values.astype(np.float32) if kernel in SINGLE else values.astype(np.int8)
    packed = pack(values, kernel)
    np.testing.assert_array_equal(reference.dense(packed), values)
    assert packed.values.any(axis=(1, 2)).all()


@pytest.mark.parametrize("factors", [False, True])
def test_linear(factors):
    rng = np.random.default_rng(2)
    packed = weights(rng, (40, 30), Kernel("block4"), 0.5)
    channel_scale = rng.uniform(0.5, 2, 30).astype(np.float32) if factors else None
    layer = {
        "weights": packed,
        "scales": rng.uniform(0.001, 0.01, 40).astype(np.float32),
        "bias": f32(rng, 40),
        "quantization": Quantization(-2.1, 2.2, channel_scale),
    }
    single = {
        "weights": weights(rng, (24, 40), SINGLE[0], 0.3, single=True),
        "scales": None,
        "bias": None,
        "quantization": None,
    }
    program = chain(30, (40, lambda s, t: Linear(s, t, **layer)), (24, lambda s, t: Linear(s, t, **single)))
    assert_agree(program, [f32(rng, 2, 7, 30)])


def test_quantizer_rounds_half_to_even_and_clamps():
    # A range of 255 steps of one half: middles between levels are exact in float32.
    quantization = Quantization(-64.0, 63.5)
    x = (np.arange(-140, 140, dtype=np.float32) / 2 + np.float32(0.25)).reshape(1, -1, 1)
    identity = pack(np.ones((1, 1), np.int8), Kernel("block4"))
    ones = np.ones(1, np.float32)
    linear = chain(1, (1, lambda s, t: Linear(s, t, identity, ones, None, quantization)))
    fake = chain(1, lambda s, t: FakeQuantize(s, t, -64.0, 63.5))
    level = np.clip([round((v + 64) * 2) for v in x.ravel().tolist()], 0, 255)
    for program in (linear, fake):
        np.testing.assert_array_equal(reference.run(program, [x])[0].ravel(), level / 2 - 64)
    assert_agree(fake, [x])


def test_dynamic_quantization_is_static_with_the_range_of_each_token():
    rng = np.random.default_rng(3)
    packed = weights(rng, (10, 12), Kernel("block4"), 0.7)
    scales, bias = rng.uniform(0.001, 0.01, 10).astype(np.float32), f32(rng, 10)
    x = f32(rng, 1, 4, 12)
    x[0, 1], x[0, 2] = np.abs(x[0, 1]), -np.abs(x[0, 2])
    x[0, 3] = 0
    dynamic = reference.compute(Linear(0, 1, packed, scales, bias, Quantization(None, None)), {0: x})
    for token in range(4):
        low, high = min(x[0, token].min(), 0), max(x[0, token].max(), 0)
        if low == high:
            np.testing.assert_array_equal(dynamic[0, token], bias)
            continue
        static = Linear(0, 1, packed, scales, bias, Quantization(low, high))
        expected = reference.compute(static, {0: x[:, token : token + 1]})
        np.testing.assert_allclose(dynamic[:, token : token + 1], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation(kind):
    x = np.linspace(-12, 12, 3001, dtype=np.float32).reshape(1, -1, 1)
    assert_agree(chain(1, lambda s, t: Activation(s, t, kind)), [x])


def test_layer_norm_affine_add_fake_quantize():
    rng = np.random.default_rng(4)
    program = chain(
        77,
        lambda s, t: LayerNorm(s, t, f32(rng, 77), f32(rng, 77), 1e-5),
        lambda s, t: Affine(s, t, f32(rng, 77), None),
        lambda s, t: Affine(s, t, None, f32(rng, 77)),
        lambda s, t: Add(s, s, t),
        lambda s, t: FakeQuantize(s, t, -1.7, 2.3, 256),
        lambda s, t: FakeQuantize(s, t, -0.5, 1.1, 16),
        lambda s, t: LayerNorm(s, t, None, None, 1e-12),
    )
    assert_agree(program, [f32(rng, 2, 9, 77) * 3 + 1])


@pytest.mark.parametrize("mask", ["none", "keys", "pairs", "added"])
def test_attention(mask):
    rng = np.random.default_rng(5)
    heads, depth, batch, seq = 3, 10, 2, 19
    inputs = [f32(rng, batch, seq, heads * depth) for _ in range(3)]
    if mask == "keys":
        inputs.append(np.arange(seq)[None, None, None] < np.array([seq, 7])[:, None, None, None])
    elif mask == "pairs":
        inputs.append(np.tril(np.ones((seq, seq), bool))[None, None].repeat(batch, 0))
    elif mask == "added":
        added = f32(rng, 1, heads, seq, seq)
        added[..., 3] = np.finfo(np.float32).min
        inputs.append(added)
    kind = openvino.Type.f32 if mask == "added" else openvino.Type.boolean
    assert_agree(attention_program(heads, depth, mask=mask != "none"), inputs, **({"mask": (kind, [-1, -1, -1, -1])}))


def test_a_query_without_keys_gets_zeros():
    rng = np.random.default_rng(6)
    mask = np.ones((1, 1, 4, 4), bool)
    mask[0, 0, 2] = False
    inputs = [f32(rng, 1, 4, 6) for _ in range(3)]
    out = reference.run(attention_program(2, 3, mask=True), [*inputs, mask])[0]
    np.testing.assert_array_equal(out[0, 2], np.zeros(6))
    assert np.abs(out[0, [0, 1, 3]]).min() > 0


@pytest.mark.parametrize("quantization", ["static", "smooth", "none"])
def test_encoder_layer(quantization):
    rng = np.random.default_rng(7)
    options = {"kernel": None} if quantization == "none" else {"quantization": quantization}
    program = encoder_layer(rng, every_value=True, **options)
    mask = np.arange(11)[None, None, None] < np.array([11, 4])[:, None, None, None]
    assert_agree(program, [f32(rng, 2, 11, 48), mask])


@pytest.mark.parametrize("interleaved", [False, True])
def test_gated_layer(interleaved):
    rng = np.random.default_rng(8)
    program = gated_layer(rng, interleaved=interleaved, every_value=True)
    mask = np.tril(np.ones((1, 1, 11, 11), bool))
    assert_agree(program, [f32(rng, 2, 11, 24), *tables(11, 12, interleaved=interleaved), mask])


def test_emulation_is_float32_and_agrees():
    x = f32(np.random.default_rng(9), 50, 24)
    model = quantized_model()
    emulated = emulate_f32(model)
    kinds = {node.get_type_name() for node in emulated.get_ops()}
    assert "FakeQuantize" not in kinds and "Convert" not in kinds
    assert {"first", "second"} <= {node.get_friendly_name() for node in emulated.get_ops()}
    assert any(node.get_type_name() == "FakeQuantize" for node in model.get_ops()), "the model itself was changed"

    compiled = openvino.Core().compile_model(emulated, "CPU", CONFIG)
    executed = {
        node.get_rt_info()["layerType"]: node.get_rt_info()["runtimePrecision"]
        for node in compiled.get_runtime_model().get_ops()
        if node.get_rt_info()["layerType"] in ("FullyConnected", "FakeQuantize")
    }
    assert executed == {"FullyConnected": "f32"}

    program, values = _as_program(model), {0: x}
    for step in program.steps:
        values[step.target] = reference.compute(step, values)
    result = compiled.create_infer_request().infer([x])[compiled.outputs[0]]
    # One activation of the second layer may round the other way: a step of 4.1 / 255 times a weight below 0.6.
    assert np.abs(result - values[2]).max() < 4.1 / 255 * 0.6


def _as_program(model) -> Program:
    from optkit.ir.layers import linear_layers

    makers, program = [], None
    for layer in linear_layers(model):
        packed = pack(np.ascontiguousarray(layer.weight.values), Kernel("block4"))
        scale = layer.weight.scale.ravel()
        quantization = Quantization(-2.0, 2.1)
        makers.append((layer.shape[0], lambda s, t, p=packed, c=scale, q=quantization: Linear(s, t, p, c, None, q)))
    program = chain(24, *makers)
    return program
