"""The linear layers of a model: how their weights and activations are read, and which the engine cannot compute."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import HIDDEN, Graph, axes, fake_quantize, scalar
from rewritten import ops, ov

from optkit.runtime.rewriting import sites


def only(graph: Graph, result):
    found = sites(graph.model(result))
    assert len(found) == 1
    return found[0]


def stored(graph, values, *, zero=None, scale=None):
    """Integers as an exporter decompresses them."""
    weight = ops.convert(ops.constant(values), "f32")
    if zero is not None:
        weight = ops.subtract(weight, ops.convert(ops.constant(zero), "f32"))
    return ops.multiply(weight, ops.constant(graph.numbers(16, 1) if scale is None else scale))


def test_int8_as_nncf_writes_it():
    graph = Graph()
    smooth = graph.numbers(1, 1, HIDDEN)
    site = only(graph, graph.quantized(graph.tokens(), 16, "layer", low=-2.5, high=3.5, smooth=smooth))
    assert (site.matmul, site.shape, site.supported, site.reason) == ("layer", (16, HIDDEN), True, "")
    assert site.values.dtype == np.int8 and site.values.shape == (16, HIDDEN)
    assert site.scales.dtype == np.float32 and site.scales.shape == (16,)
    assert (site.quantization.low, site.quantization.high) == (-2.5, 3.5)
    np.testing.assert_array_equal(site.quantization.channel_scale, smooth.ravel())


def test_float32():
    graph = Graph()
    site = only(graph, graph.linear(graph.tokens(), 16, "layer"))
    assert site.supported and site.values.dtype == np.float32
    assert site.scales is None and site.quantization is None
    assert site.reason == "float32 weights; int8, by output channel, if activations are quantized as they come"


def test_other_forms_of_float_weights():
    graph = Graph()
    values = graph.numbers(16, HIDDEN)
    half = ops.convert(ops.constant(values.astype(np.float16)), "f32")
    site = only(graph, ops.matmul(graph.tokens(), half, False, True))
    assert site.values.dtype == np.float32 and site.supported
    np.testing.assert_allclose(site.values, values, rtol=1e-3)
    graph = Graph()
    site = only(graph, ops.matmul(graph.tokens(), ops.constant(values.T.copy()), False, False))
    np.testing.assert_array_equal(site.values, values)


def test_unsigned_weights_with_a_zero_point_in_the_middle():
    graph = Graph()
    values = graph.rng.integers(0, 256, (16, HIDDEN)).astype(np.uint8)
    site = only(graph, ops.matmul(graph.tokens(), stored(graph, values, zero=np.uint8([[128]])), False, True))
    assert site.supported and site.values.dtype == np.int8
    np.testing.assert_array_equal(site.values, values.astype(np.int16) - 128)
    assert site.reason.startswith("int8 weights, activations not quantized")


def test_one_scale_for_all():
    graph = Graph()
    values = graph.rng.integers(-128, 128, (16, HIDDEN)).astype(np.int8)
    weight = stored(graph, values, scale=np.float32(0.25))
    site = only(graph, ops.matmul(graph.tokens(), weight, False, True))
    np.testing.assert_array_equal(site.scales, np.full(16, 0.25, np.float32))


def test_what_the_engine_cannot_compute():
    graph = Graph()
    x, turned = graph.tokens(), graph.tokens((-1, HIDDEN, -1))
    integers = graph.rng.integers(0, 256, (16, HIDDEN)).astype(np.uint8)
    groups = stored(graph, integers.reshape(16, 4, 6).view(np.int8), scale=graph.numbers(16, 4, 1))
    matrix = ops.constant(graph.numbers(16, HIDDEN))
    wide = graph.tokens((-1, -1, 65_540))
    cases = {
        "u8 weights with a zero point do not fit int8": ops.matmul(
            x, stored(graph, integers, zero=np.uint8([[7]])), False, True
        ),
        "the weights have scales for groups of inputs": ops.matmul(
            x, ops.reshape(groups, axes(16, HIDDEN), False), False, True
        ),
        "the activations are transposed": ops.matmul(turned, matrix, True, True),
        "the weight is the first operand": ops.matmul(matrix, turned, False, False),
        "the activations are f16": ops.matmul(
            ops.convert(x, "f16"), ops.constant(graph.numbers(16, HIDDEN).astype(np.float16)), False, True
        ),
        "the weight has more than two dimensions": ops.matmul(
            graph.tokens((-1, HIDDEN)), ops.constant(graph.numbers(1, 16, HIDDEN)), False, True
        ),
        "the activations' number of dimensions is unknown or 1": ops.matmul(
            graph.tokens((HIDDEN,)), matrix, False, True
        ),
        "more than 65536 inputs": ops.matmul(wide, ops.constant(np.ones((1, 65_540), np.float32)), False, True),
        "FakeQuantize has a range for each channel": ops.matmul(
            fake_quantize(x, -np.ones((1, 1, HIDDEN)), np.ones((1, 1, HIDDEN))),
            graph.int8_weight(16, HIDDEN),
            False,
            True,
        ),
        "FakeQuantize has 255 levels, not 256": graph.quantized(x, 16, levels=255),
        "FakeQuantize changes the range": ops.matmul(
            ops.fake_quantize(x, *map(scalar, (-1.0, 1.0, -2.0, 2.0)), 256), graph.int8_weight(16, HIDDEN), False, True
        ),
        "1 of 384 weights are NaN": graph.linear(
            x, 16, weight=ops.constant(np.where(np.arange(384) == 5, np.nan, 1).astype(np.float32).reshape(16, HIDDEN))
        ),
    }
    for why, node in cases.items():
        (node.input_value(0).get_node() if node.get_type_name() == "Add" else node).set_friendly_name(why)
    found = sites(graph.model(*cases.values()))
    assert {site.matmul: site.reason for site in found} == {why: why for why in cases}
    assert not any(site.supported for site in found)


def test_a_weight_that_comes_first_is_told_through_a_transpose():
    graph = Graph()
    turned = ops.transpose(ops.constant(graph.numbers(HIDDEN, 16)), axes(1, 0))
    site = only(graph, ops.matmul(turned, graph.tokens((HIDDEN, -1)), False, False))
    assert (site.supported, site.reason) == (False, "the weight is the first operand")


def test_two_matmuls_of_one_name():
    graph = Graph()
    x = graph.tokens()
    found = sites(graph.model(graph.linear(x, name="same"), graph.linear(x, name="same")))
    assert [site.reason for site in found] == ["2 MatMuls have this name"] * 2


def test_layers_that_quantize_one_value_alike_share_the_quantization():
    graph = Graph()
    x, y = graph.tokens(), graph.tokens()
    layers = [graph.quantized(x, name="a"), graph.quantized(x, name="b"), graph.quantized(x, name="c", high=5.0)]
    found = {site.matmul: site for site in sites(graph.model(*layers, graph.quantized(y, name="d")))}
    one, same, other, elsewhere = (found[name].quantization for name in "abcd")
    assert one is same
    assert one is not other and one is not elsewhere


@pytest.mark.parametrize("smooth", [False, True])
def test_activations_quantized_before_they_are_moved(smooth):
    graph = Graph()
    x = graph.tokens((-1, 4, -1, 6))
    quantized = fake_quantize(ops.multiply(x, ops.constant(graph.numbers(6))) if smooth else x, -1.0, 1.5)
    moved = ops.reshape(ops.transpose(quantized, axes(0, 2, 1, 3)), axes(0, 0, HIDDEN), True)
    site = only(graph, ops.matmul(moved, graph.int8_weight(16, HIDDEN), False, True))
    assert (site.quantization.low, site.quantization.high, site.quantization.channel_scale) == (-1.0, 1.5, None)


def test_a_product_that_is_no_smooth_quant():
    graph = Graph()
    x = graph.tokens((-1, -1, 1))
    wide = fake_quantize(ops.multiply(x, ops.constant(graph.numbers(1, 1, HIDDEN))), -1.0, 1.0)
    site = only(graph, ops.matmul(wide, graph.int8_weight(16, HIDDEN), False, True))
    assert site.quantization.channel_scale is None


def blocks(rng, shape, block, share):
    """Numbers that are zero in so many blocks, and nowhere else."""
    keep = rng.permutation(shape[0] // block[0] * (shape[1] // block[1])) >= share * shape[0] * shape[1] // np.prod(
        block
    )
    mask = np.kron(keep.reshape(shape[0] // block[0], -1), np.ones(block, bool))
    return (rng.uniform(0.5, 1, shape) * mask).astype(np.float32)


@pytest.mark.parametrize(
    ("block", "rows", "block4"),
    [((1, 4), 1, 0.25), ((1, 1), 1, None), ((4, 1), 4, None), ((16, 1), 16, None), ((32, 4), 32, 0.25)],
)
def test_zeros_are_counted(block, rows, block4):
    graph = Graph()
    values = blocks(graph.rng, (64, HIDDEN), block, 0.75)
    site = only(graph, graph.linear(graph.tokens(), weight=ops.constant(values), bias=False))
    assert site.density == pytest.approx(0.25)
    assert site.rows == rows
    exact = np.count_nonzero(values.reshape(64, -1, 4).any(2)) / (64 * HIDDEN / 4)
    assert site.block4_densities[1] == pytest.approx(exact)
    assert block4 is None or exact == block4


def test_dense_layers_and_inputs_that_are_no_multiple_of_four():
    graph = Graph()
    values = graph.numbers(6, 7)
    values[0] = 0
    site = only(graph, graph.linear(graph.tokens((-1, 7)), weight=ops.constant(values), bias=False))
    assert (site.density, site.rows) == (pytest.approx(5 / 6), 1)
    assert site.block4_densities[1] == pytest.approx(5 / 6)


def test_a_model_of_something_else_has_none():
    x = ops.parameter([-1, 3, 8, 8], np.float32)
    convolution = ops.convolution(x, ops.constant(np.ones((4, 3, 3, 3), np.float32)), [1, 1], [0, 0], [0, 0], [1, 1])
    assert sites(ov.Model([ops.result(convolution)], [x], "image")) == []
