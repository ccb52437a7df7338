"""The op as OpenVINO sees it: shapes, inputs that do not fit, saving and reading, and what stands around it."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import reference
from programs import (
    CONFIG,
    INT8,
    Grid,
    attention_program,
    chain,
    compile_op,
    encoder_layer,
    f32,
    infer,
    linear_program,
    op_model,
    relative_program,
    scales,
    weights,
)

from optkit.errors import OptkitError
from optkit.ir.io import import_openvino
from optkit.runtime.packing import encode
from optkit.runtime.program import Activation, Add, LayerNorm, Linear, Program

pytestmark = pytest.mark.usefixtures("extension")
openvino = import_openvino()
ops = openvino.opset13
#: What OpenVINO raises, and what our Python makes of it.
REFUSED = (RuntimeError, OptkitError)


def relu(features: int = 6) -> Program:
    return chain(features, lambda s, t: Activation(s, t, "relu"))


def two_widths() -> Program:
    """Outputs of 9, 4 and again 9 features."""
    rng = np.random.default_rng(0)
    layers = []
    for out in (9, 4):
        packed = weights(rng, (out, 6), INT8[0], 0.7)
        layers.append({"weights": packed, "scales": scales(rng, packed), "bias": None})
    program = linear_program([{**layer, "quantization": Grid().quantization} for layer in layers], 6)
    program.outputs.append(program.outputs[0])
    return program


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ([2, 5, 6], [[2, 5, 9], [2, 5, 4], [2, 5, 9]]),
        ([-1, 7, 6], [[-1, 7, 9], [-1, 7, 4], [-1, 7, 9]]),
        ([3, 6], [[3, 9], [3, 4], [3, 9]]),
        ([6], [[9], [4], [9]]),
        ([1, 2, 3, 6], [[1, 2, 3, 9], [1, 2, 3, 4], [1, 2, 3, 9]]),
        ([-1, -1], [[-1, 9], [-1, 4], [-1, 9]]),
    ],
    ids=str,
)
def test_shapes_of_outputs(shape, expected):
    model = op_model(two_widths(), shapes=[shape])
    assert [output.get_partial_shape() for output in model.outputs] == [openvino.PartialShape(s) for s in expected]
    x = Grid().activations(np.random.default_rng(1), *[2 if size < 0 else size for size in shape[:-1]], 6)
    compiled = openvino.Core().compile_model(model, "CPU", CONFIG)
    for result, wanted in zip(infer(compiled, [x]), reference.run(two_widths(), [x]), strict=True):
        np.testing.assert_array_equal(result.shape, wanted.shape)
        np.testing.assert_allclose(result, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 6), (2, 0, 6), (0, 5, 6)], ids=str)
def test_no_tokens(shape):
    compiled = compile_op(two_widths(), shapes=[[-1] * (len(shape) - 1) + [6]])
    results = infer(compiled, [np.zeros(shape, np.float32)])
    assert [result.shape for result in results] == [(*shape[:-1], features) for features in (9, 4, 9)]


def test_no_sequences():
    compiled = compile_op(attention_program(2, 3, mask=True))
    for batch, seq in ((0, 5), (2, 0)):
        inputs = [np.zeros((batch, seq, 6), np.float32)] * 3
        assert infer(compiled, [*inputs, np.ones((batch, 1, 1, seq), bool)])[0].shape == (batch, seq, 6)


def create(inputs, blob):
    from optkit.runtime import extension

    return extension.create_node([ops.parameter(shape, kind).output(0) for shape, kind in inputs], blob, "node")


@pytest.mark.parametrize(
    ("program", "inputs", "message"),
    [
        (relu(), [([-1, 5], np.float32)], "features"),
        (relu(), [([-1, 6], np.int32)], "an input is f32, f16 or bf16, not i32"),
        (relu(), [([-1, 6], np.float32)] * 2, "1 inputs"),
        (attention_program(2, 3, mask=True), [([-1, -1, 6], np.float32)] * 3, "4 inputs"),
        (attention_program(2, 3, mask=False), [([-1, 6], np.float32)] * 3, "batch, length, features"),
        (
            attention_program(2, 3, mask=True),
            [([-1, -1, 6], np.float32)] * 3 + [([-1, -1], np.bool_)],
            "mask has four dimensions",
        ),
        (
            attention_program(2, 3, mask=True),
            [([-1, -1, 6], np.float32)] * 3 + [([-1, 1, 1, -1], np.int64)],
            "mask is boolean, f32, f16 or bf16, not i64",
        ),
    ],
    ids=range(7),
)
def test_inputs_that_do_not_fit_when_built(program, inputs, message):
    with pytest.raises(REFUSED, match=message):
        create(inputs, encode(program))


@pytest.mark.parametrize(
    "mask",
    [(1, 1, 1, 6), (1, 1, 1, 4), (3, 1, 1, 5), (2, 3, 1, 5), (2, 1, 4, 5), (2, 1, 5, 2), (0, 1, 1, 5)],
    ids=str,
)
def test_masks_that_do_not_fit_when_run(mask):
    compiled = compile_op(attention_program(2, 3, mask=True))
    inputs = [np.zeros((2, 5, 6), np.float32)] * 3
    with pytest.raises(RuntimeError, match="mask of shape"):
        infer(compiled, [*inputs, np.ones(mask, bool)])
    # The model is as good as before.
    assert infer(compiled, [*inputs, np.ones((2, 1, 1, 5), bool)])[0].shape == (2, 5, 6)


@pytest.mark.parametrize(
    ("table", "places", "message"),
    [
        ((1, 2, 4, 3), [4] * 9, "a table of 4 relative positions has no row 4"),
        ((1, 2, 4, 3), [0] * 8 + [-1], "has no row -1"),
        ((1, 2, 4, 3), [0] * 10, "do not end with 9"),
        ((1, 2, 4, 4), [0] * 9, "do not end with 3"),
        ((1, 1, 4, 3), [0] * 9, "do not fit 2 heads"),
        ((1, 2, 0, 3), [0] * 9, "a table of 0 relative positions has no row 0"),
    ],
)
def test_relative_positions_that_do_not_fit_when_run(table, places, message):
    compiled = compile_op(relative_program(2, 3, terms="q", masks=0))
    inputs = [np.zeros((2, 5, 6), np.float32)] * 3
    with pytest.raises(RuntimeError, match=message):
        infer(compiled, [*inputs, np.zeros(table, np.float32), np.int32(places).reshape(1, 1, 1, -1)])


@pytest.mark.parametrize("shape", [(2, 1, 5, 1), (1, 2, 1, 1)], ids=str)
@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_a_mask_of_one_column_serves_all_keys(shape, dtype):
    rng = np.random.default_rng(0)
    compiled = compile_op(attention_program(2, 3, mask=True), mask_type="boolean" if dtype is bool else "f32")
    inputs = [rng.normal(size=(2, 5, 6)).astype(np.float32) for _ in range(3)]
    mask = rng.random(shape) < 0.5 if dtype is bool else rng.normal(size=shape).astype(np.float32)
    whole = np.ascontiguousarray(np.broadcast_to(mask, (*shape[:3], 5)))
    np.testing.assert_array_equal(infer(compiled, [*inputs, mask])[0], infer(compiled, [*inputs, whole])[0])


@pytest.mark.parametrize("key", [(2, 4, 6), (1, 4, 6), (5, 2, 6), (2, 0, 6)], ids=str)
def test_values_of_different_tokens(key):
    compiled = compile_op(attention_program(2, 3, mask=False))
    query = np.zeros((2, 5, 6), np.float32)
    with pytest.raises(RuntimeError, match="does not fit"):
        infer(compiled, [query, np.zeros(key, np.float32), query])


def test_values_of_one_sequence_serve_all():
    rng = np.random.default_rng(0)
    compiled = compile_op(attention_program(2, 3, mask=False))
    query, key = f32(rng, 3, 37, 6), f32(rng, 1, 37, 6)
    repeated = np.repeat(key, 3, axis=0)
    one, all_ = (infer(compiled, [query, each, query])[0] for each in (key, repeated))
    np.testing.assert_array_equal(one, all_)
    with pytest.raises(RuntimeError, match="does not fit"):  # the first says how many there are
        infer(compiled, [key, query, query])


def layer_model(**options):
    rng = np.random.default_rng(4)
    program = encoder_layer(rng, **options)
    x = f32(rng, 2, 21, 48)
    mask = np.arange(21)[None, None, None] < np.array([21, 9])[:, None, None, None]
    return program, [x, mask]


def test_saved_and_read_by_a_core_that_knows_the_extension(extension, tmp_path):
    program, inputs = layer_model()
    model = op_model(program)
    # Constants of odd lengths before it: the packed program need not lie where numbers would be aligned.
    bytes_before = ops.constant(np.arange(13, dtype=np.uint8))
    text = ops.result(ops.convert(bytes_before, "f32"))
    model.add_results([text])
    openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    core = openvino.Core()
    extension.add_to(core)
    read = core.read_model(tmp_path / "model.xml")
    assert [node.get_type_name() for node in read.get_ops()].count("Program") == 1
    results = infer(core.compile_model(read, "CPU", CONFIG), inputs)
    np.testing.assert_array_equal(results[0], infer(compile_op(program), inputs)[0])
    np.testing.assert_array_equal(results[1], np.arange(13))


def test_compiled_from_openvinos_cache(extension, tmp_path):
    program, inputs = layer_model()
    openvino.save_model(op_model(program), tmp_path / "model.xml", compress_to_fp16=False)
    results = []
    for _ in range(2):
        core = openvino.Core()
        extension.add_to(core)
        config = {**CONFIG, "CACHE_DIR": str(tmp_path / "cache")}
        results.append(infer(core.compile_model(tmp_path / "model.xml", "CPU", config), inputs)[0])
    assert list((tmp_path / "cache").iterdir())
    np.testing.assert_array_equal(*results)


def test_a_model_and_its_clone():
    program, inputs = layer_model()
    model = op_model(program)
    clone = model.clone()
    first = infer(openvino.Core().compile_model(model, "CPU", CONFIG), inputs)[0]
    del model
    np.testing.assert_array_equal(infer(openvino.Core().compile_model(clone, "CPU", CONFIG), inputs)[0], first)


def test_among_other_operators(extension):
    """Inputs that others compute, one of them twice; outputs that others and the model both read."""
    rng = np.random.default_rng(5)
    gamma = f32(rng, 6)
    program = Program([6, 6, 6, 6], [0, 1], [2, 3], [Add(0, 1, 2), LayerNorm(2, 3, gamma, None, 1e-5)])
    x = ops.parameter([-1, -1, 6], np.float32)
    turned = ops.transpose(x, ops.constant(np.array([1, 0, 2])))
    node = extension.create_node([turned.output(0), turned.output(0)], encode(program), "node")
    outputs = [ops.relu(node.output(1)), ops.add(node.output(0), ops.constant(np.float32(1)))]
    model = openvino.Model([ops.result(o) for o in [node.output(0), *outputs]], [x], "among")
    data = f32(rng, 3, 4, 6)
    results = infer(openvino.Core().compile_model(model, "CPU", CONFIG), [data])
    swapped = data.transpose(1, 0, 2)
    total, normal = reference.run(program, [swapped, swapped])
    np.testing.assert_array_equal(results[0], total)
    np.testing.assert_array_equal(results[2], total + 1)
    np.testing.assert_allclose(results[1], np.maximum(normal, 0), rtol=0, atol=1e-5)


def test_half_precision_around_it():
    """A CPU that computes in bfloat16 by default still hands float32 to the op."""
    program, inputs = layer_model()
    exact = infer(compile_op(program), inputs)[0]
    rough = infer(compile_op(program, {"INFERENCE_PRECISION_HINT": "bf16"}), inputs)[0]
    assert np.abs(rough - exact).max() < 0.2
    assert np.isfinite(rough).all()


def test_one_token_does_not_touch_another():
    """Numbers that are none stay in their token, in the linear layers, and in their sequence, in attention."""
    rng = np.random.default_rng(6)
    packed = weights(rng, (20, 10), INT8[0], 0.8)
    layer = {"weights": packed, "scales": scales(rng, packed), "bias": None, "quantization": Grid().quantization}
    program = chain(10, (20, lambda s, t: Linear(s, t, **layer)), lambda s, t: LayerNorm(s, t, None, None, 1e-5))
    compiled = compile_op(program)
    x = f32(rng, 1, 40, 10)
    clean = infer(compiled, [x])[0]
    x[0, 7], x[0, 33, 2] = np.nan, np.inf
    np.testing.assert_array_equal(np.delete(infer(compiled, [x])[0], [7, 33], 1), np.delete(clean, [7, 33], 1))

    program, inputs = layer_model()
    compiled = compile_op(program)
    clean = infer(compiled, inputs)[0]
    inputs[0] = inputs[0].copy()
    inputs[0][1] = np.nan
    np.testing.assert_array_equal(infer(compiled, inputs)[0][0], clean[0])
    # And what was left of it in the engine's memory is not seen by the next run.
    inputs[0][1] = 0
    assert np.isfinite(infer(compiled, inputs)[0]).all()


def test_padding_does_not_change_a_sequence():
    program, (x, mask) = layer_model()
    compiled = compile_op(program)
    padded = infer(compiled, [x, mask])[0]
    alone = infer(compiled, [x[1:, :9], np.ones((1, 1, 1, 9), bool)])[0]
    np.testing.assert_allclose(padded[1:, :9], alone, rtol=0, atol=2e-2)


@pytest.mark.parametrize("isa", ["avx1024", "AVX2 "])
def test_an_unknown_instruction_set_is_named(isa):
    script = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from programs import chain, op_model\nfrom optkit.runtime.program import Activation\n"
        "op_model(chain(6, lambda s, t: Activation(s, t, 'relu')))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, os.path.dirname(__file__)],
        env={**os.environ, "OPTKIT_ISA": isa},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert f"OPTKIT_ISA is '{isa}'" in process.stderr and "scalar" in process.stderr
