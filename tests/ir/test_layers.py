from __future__ import annotations

import numpy as np
import pytest

from optkit.errors import ExportError
from optkit.ir.io import import_openvino
from optkit.ir.layers import LinearLayer, Weight, linear_layers, map_parameters, parameters, verify_quantized

OUT, IN = 6, 4
REAL = np.arange(1, OUT * IN + 1, dtype=np.float32).reshape(OUT, IN)
STORED = np.arange(-12, 12, dtype=np.int8).reshape(OUT, IN)
SCALE = np.linspace(0.1, 0.6, OUT, dtype=np.float32).reshape(OUT, 1)


def _model(weight, *, transpose=True, first=False):
    """A MatMul of one input and the node ``weight``, as second operand or first."""
    openvino = import_openvino()
    data = openvino.opset13.parameter([-1, -1], np.float32)
    operands = (weight, data) if first else (data, weight)
    matmul = openvino.opset13.matmul(*operands, first and transpose, not first and transpose, name="layer")
    return openvino.Model([matmul], [data], "one")


@pytest.fixture(scope="module")
def ops():
    return import_openvino().opset13


def _decompressed(ops, stored, scale, zero=None):
    node = ops.convert(ops.constant(stored), "f32")
    if zero is not None:
        node = ops.subtract(node, ops.convert(ops.constant(zero), "f32"))
    return ops.multiply(node, ops.constant(scale))


def test_weights_come_as_out_by_in_however_the_graph_turns_them(ops):
    turned = {
        "as torch saves it": _model(ops.constant(REAL)),
        "transposed": _model(ops.constant(REAL.T.copy()), transpose=False),
        "first operand": _model(ops.constant(REAL), transpose=False, first=True),
        "first operand, transposed": _model(ops.constant(REAL.T.copy()), first=True),
        "through Transpose": _model(ops.transpose(ops.constant(REAL.T.copy()), ops.constant([1, 0]))),
        "through Reshape": _model(ops.reshape(ops.constant(REAL.reshape(2, 3, IN)), ops.constant([OUT, IN]), False)),
        "with a batch of one": _model(ops.constant(REAL[None])),
        "through Convert": _model(ops.convert(ops.constant(REAL.astype(np.float16)), "f32")),
    }
    for how, model in turned.items():
        (layer,) = linear_layers(model)
        assert layer.matmul == "layer" and layer.shape == (OUT, IN), how
        assert np.array_equal(layer.weight.values, REAL) and layer.weight.scale is None, how


def test_integers_come_without_their_zero_point_and_with_their_scale(ops):
    (layer,) = linear_layers(_model(_decompressed(ops, STORED, SCALE)))
    assert layer.weight.dtype == "i8" and layer.weight.values.dtype == np.int8
    assert np.array_equal(layer.weight.values, STORED) and np.array_equal(layer.weight.scale, SCALE)

    unsigned, zero = (STORED.astype(np.int16) + 128).astype(np.uint8), np.full((OUT, 1), 128, np.uint8)
    (layer,) = linear_layers(_model(_decompressed(ops, unsigned, SCALE, zero)))
    assert layer.weight.dtype == "u8" and np.array_equal(layer.weight.values, STORED)

    (layer,) = linear_layers(_model(_decompressed(ops, STORED.T.copy(), SCALE.T.copy()), transpose=False))
    assert np.array_equal(layer.weight.values * layer.weight.scale, STORED * SCALE)

    groups = _decompressed(ops, STORED.reshape(OUT, 2, IN // 2), np.repeat(SCALE, 2, 1)[..., None].copy())
    (layer,) = linear_layers(_model(ops.reshape(groups, ops.constant([OUT, IN]), False)))
    assert np.array_equal(layer.weight.values * layer.weight.scale, STORED * SCALE)

    openvino = import_openvino()
    nibbles = (STORED % 8).astype(np.int8)
    packed = openvino.op.Constant(openvino.Type.i4, openvino.Shape([OUT, IN]), nibbles.flatten().tolist())
    (layer,) = linear_layers(_model(ops.multiply(ops.convert(packed, "f32"), ops.constant(SCALE))))
    assert layer.weight.dtype == "i4" and np.array_equal(layer.weight.values, nibbles)


def test_a_fake_quantized_weight_is_what_it_stands_for(ops):
    import openvino

    low, high = np.full((OUT, 1), -30, np.float32), np.full((OUT, 1), 30, np.float32)
    weight = ops.fake_quantize(ops.constant(REAL - 12), *map(ops.constant, (low, high, low, high)), 255)
    (layer,) = linear_layers(_model(weight))
    expected = openvino.compile_model(openvino.Model([weight], [], "weight"), "CPU")([])[0]
    assert np.allclose(layer.weight.values, expected, atol=1e-5)
    assert layer.weight.values[2, 3] == expected[2, 3] == 0


UNSIGNED = (STORED.astype(np.int16) + 128).astype(np.uint8)


def _half(ops, stored):
    return ops.convert(ops.constant(stored), "f32")


#: Ways to write a weight down that converters other than NNCF take, or that a stranger may.
UNUSUAL = {
    "the scale comes first": lambda ops: ops.multiply(ops.constant(SCALE), _half(ops, STORED)),
    "the scale has a scale": lambda ops: ops.multiply(
        _half(ops, STORED),
        ops.multiply(_half(ops, np.arange(1, OUT + 1, dtype=np.int8).reshape(OUT, 1)), np.float32(0.01)),
    ),
    "the scale has a dimension more": lambda ops: ops.reshape(
        ops.multiply(_half(ops, STORED), ops.constant(SCALE[None])), ops.constant([OUT, IN]), False
    ),
    "a number is taken off floats": lambda ops: ops.subtract(ops.constant(REAL / 7), ops.constant(np.float32(0.5))),
    "a number is taken off what was scaled": lambda ops: ops.subtract(
        _decompressed(ops, STORED, SCALE), ops.constant(np.float32(0.25))
    ),
    "the zero point is a fraction": lambda ops: ops.multiply(
        ops.subtract(_half(ops, UNSIGNED), ops.constant(np.float32(128.5))), ops.constant(SCALE)
    ),
    "the zero point is a whole float": lambda ops: ops.multiply(
        ops.subtract(_half(ops, UNSIGNED), ops.constant(np.float32(128))), ops.constant(SCALE)
    ),
    "a row's range is empty": lambda ops: ops.fake_quantize(
        ops.constant(REAL * (np.arange(OUT) > 1)[:, None]),
        *(ops.constant(np.where(np.arange(OUT) > 1, limit, 0).astype(np.float32)[:, None]) for limit in (-30, 30) * 2),
        255,
    ),
}


@pytest.mark.parametrize("how", UNUSUAL)
def test_a_weight_is_what_openvino_computes(ops, how):
    model = _model(UNUSUAL[how](ops))
    (layer,) = linear_layers(model)
    eye = np.eye(IN, dtype=np.float32)
    computed = import_openvino().Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(eye)[0].T
    assert layer.shape == (OUT, IN)
    np.testing.assert_allclose(layer.weight.real(), computed, rtol=1e-5, atol=1e-6)
    assert len(list(parameters(model))) == 1


def test_only_fractions_take_integers_away(ops):
    whole = {"the scale comes first", "the scale has a scale", "the zero point is a whole float"}
    for how, weight in UNUSUAL.items():
        (layer,) = linear_layers(_model(weight(ops)))
        assert (layer.weight.values.dtype.kind == "i") == (how in whole | {"the scale has a dimension more"}), how


def test_which_operand_a_weight_is(ops):
    for first in (False, True):
        weight = ops.transpose(ops.constant(REAL.T.copy()), ops.constant([1, 0]))
        (layer,) = linear_layers(_model(weight, transpose=not first, first=first))
        assert layer.operand == (0 if first else 1)


def test_a_batch_of_weights_is_no_layer(ops):
    assert linear_layers(_model(ops.constant(np.ones((3, 1, IN), np.float32)))) == []


def test_products_of_activations_are_no_layers(ops):
    import openvino

    left, right = ops.parameter([-1, 4], np.float32), ops.parameter([4, -1], np.float32)
    model = openvino.Model([ops.matmul(left, ops.relu(right), False, False)], [left, right], "attention")
    assert linear_layers(model) == []


def test_parameters_are_told_from_scales_ranges_and_indices(ops):
    import openvino

    ids = ops.parameter([-1, 4], np.int64)
    rows = ops.gather(ops.constant(np.ones((9, 4), np.float32)), ids, ops.constant(0))
    low, high = ops.constant(np.zeros((1, 1, 4), np.float32)), ops.constant(np.ones((1, 1, 4), np.float32))
    hidden = ops.fake_quantize(rows, low, high, low, high, 256)
    shared = _decompressed(ops, STORED[:4], SCALE[:4])
    first = ops.matmul(hidden, shared, False, True, name="first")
    second = ops.matmul(first, shared, False, True, name="second")
    convolved = ops.convolution(second, ops.constant(np.ones((5, 4, 3), np.float32)), [1], [1], [1], [1])
    model = openvino.Model([convolved], [ids], "all kinds")
    found = [(kind, weight.values.size) for kind, weight in parameters(model)]
    assert sorted(found) == [("conv", 60), ("linear", 16), ("other", 36)]
    one, two = linear_layers(model)
    assert (one.matmul, two.matmul) == ("first", "second") and one.weight.constant == two.weight.constant


def _layer(matmul, values, constant="Constant_1", scale=None):
    return LinearLayer(matmul, Weight(values, scale, "f32", constant))


def test_parameters_are_found_by_name_and_by_numbers():
    checkpoint = {"net.a.weight": REAL, "net.b.weight": REAL * 2, "net.c.weight": REAL * 3, "unused.weight": -REAL}
    layers = [
        _layer("__module.net.a/ov_ext::linear/MatMul", REAL),
        _layer("MatMul_7", REAL * 2, "self.net.b.weight"),
        _layer("MatMul_8", REAL * 3),
        _layer("__module.net.a/ov_ext::linear/MatMul_1", REAL),  # shares its weight with the first
        _layer("__module.net/aten::matmul/MatMul", REAL * 7),  # folded positions, no parameter
    ]
    required = ["net.a.weight", "net.c.weight"]
    assert map_parameters(layers, checkpoint, required=required) == {
        "__module.net.a/ov_ext::linear/MatMul": "net.a.weight",
        "MatMul_7": "net.b.weight",
        "MatMul_8": "net.c.weight",
        "__module.net.a/ov_ext::linear/MatMul_1": "net.a.weight",
    }


def test_weights_that_are_equal_are_told_apart_though_they_share_a_constant():
    gone = np.zeros_like(REAL)
    checkpoint = {f"net.{name}.weight": gone for name in "ab"}
    layers = [_layer(f"__module.net.{name}/aten::linear/MatMul", gone, "self.net.a.weight") for name in "ab"]
    mapped = map_parameters(layers, checkpoint, required=list(checkpoint))
    assert list(mapped.values()) == ["net.a.weight", "net.b.weight"]


def test_a_parameter_that_the_ir_does_not_hold_is_an_error():
    changed = REAL.copy()
    changed[0, :3] += 1e-6 * np.float32(10)
    layers = [_layer("__module.net.a/aten::linear/MatMul", changed)]
    with pytest.raises(ExportError, match=r"^net.a.weight: 3 of 24 weights differ .*\(__module.net.a/aten::linear"):
        map_parameters(layers, {"net.a.weight": REAL})
    with pytest.raises(ExportError, match=r"^net.a.weight: its shape differs .*: \(4, 6\) and \(6, 4\)$"):
        map_parameters(layers, {"net.a.weight": REAL.T})
    with pytest.raises(ExportError, match="^gone.weight: no MatMul of the converted model has its 24 weights$"):
        map_parameters(layers, {"net.a.weight": changed, "gone.weight": REAL}, required=["gone.weight"])


def test_quantization_must_keep_zeros_and_signs():
    parameter = np.array([[0, 0.001, 1, -2], [0, 0, -0.5, 3]], np.float32)
    good = np.array([[0, 0, 20, -40], [0, 0, -10, 60]], np.int8)

    def verify(values, matmul="m"):
        verify_quantized([_layer(matmul, values)], {"m": "w"}, {"w": parameter})

    verify(good)  # 0.001 rounds to zero, which is no fault
    revived = good.copy()
    revived[1, :2] = 1
    with pytest.raises(ExportError, match=r"^w: 2 pruned weights became non-zero in quantization \(m\)$"):
        verify(revived)
    flipped = good.copy()
    flipped[0, 2] = -20
    with pytest.raises(ExportError, match="^w: 1 weights changed sign"):
        verify(flipped)
    with pytest.raises(ExportError, match="^w: its MatMul m is gone"):
        verify(good, "another")
    with pytest.raises(ExportError, match="^w: its shape differs"):
        verify(good.T)
