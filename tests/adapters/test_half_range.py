"""With half the weight range no sum of two products of 8-bit integers leaves 16 bits: one factor has half the range."""

from __future__ import annotations

import numpy as np
import pytest
from architectures import BERT_OF_ONE_LAYER
from capabilities import need

from optkit.adapters import nncf
from optkit.export import conversion
from optkit.ir.io import read_model
from optkit.ir.layers import constant_weight, linear_layers
from optkit.quantization.config import Quantization

pytestmark = pytest.mark.slow

SAMPLES = [{"input_ids": np.random.default_rng(seed).integers(5, 100, 12).tolist()} for seed in range(4)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, save_checkpoint):
    """A BERT for masked words, its decoder tied to the embeddings."""
    folder = tmp_path_factory.mktemp("masked")
    save_checkpoint(folder, "BertForMaskedLM", BERT_OF_ONE_LAYER, (1, 4), 0.5)
    return folder


@pytest.fixture(scope="module")
def ir(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ir")
    conversion.convert(checkpoint, folder, task="fill-mask")
    return folder


def quantized(ir, weight_range, **options):
    return nncf.quantize_int8(read_model(ir), SAMPLES, quantization=Quantization(weight_range=weight_range), **options)


def spans(model) -> dict[str, float]:
    """Highest number of each quantized activation, by the module and layer that gives it."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize" and constant_weight(node.input_value(0).get_node()) is None:
            [high] = np.ravel(constant_weight(node.input_value(2).get_node()).real())
            found[node.get_friendly_name()] = float(high)
    return found


def test_keys_have_half_the_range(ir):
    full, half = spans(quantized(ir, "full")), spans(quantized(ir, "half"))
    factors = {name: half[name] / full[name] for name in full}
    assert full.keys() == half.keys() and len(full) > 5
    doubled = [name for name, factor in factors.items() if factor > 1.5]
    assert len(doubled) == 1 and "self.key" in doubled[0] and factors[doubled[0]] == pytest.approx(2, rel=0.1)
    assert any("self.query" in name for name in full)


@pytest.mark.parametrize(("weight_range", "largest"), [("half", 64), ("full", 127)])
def test_weights_that_an_embedding_shares_have_half_the_range(ir, weight_range, largest):
    model = quantized(ir, weight_range)
    reach = {layer.matmul: int(np.abs(layer.weight.values.astype(int)).max()) for layer in linear_layers(model)}
    assert len(reach) == 8 and {0.9 * largest < one <= largest for one in reach.values()} == {True}
    tables = {layer.weight.constant for layer in linear_layers(model) if "decoder" in layer.matmul}
    gathers = [node for node in model.get_ordered_ops() if node.get_type_name() == "Gather"]
    found = [constant_weight(node.input_value(0).get_node()) for node in gathers]
    assert len(tables) == 1 and tables <= {table.constant for table in found if table}


def test_weights_that_stay_floating_point_until_later_are_the_same(ir):
    simulated = {layer.matmul: layer.weight.real() for layer in linear_layers(quantized(ir, "half", simulated=True))}
    for layer in linear_layers(quantized(ir, "half")):
        np.testing.assert_allclose(simulated[layer.matmul], layer.weight.real(), atol=1e-6)


def test_onnx_has_both(checkpoint):
    need("onnx", "onnxscript")
    from onnx import numpy_helper as numpy

    from optkit.adapters import onnx

    def scales(weight_range):
        traced = onnx.trace(checkpoint)
        model = nncf.quantize_onnx(
            traced, onnx.feeds(traced, SAMPLES), quantization=Quantization(weight_range=weight_range)
        )
        reach = [np.abs(layer.weight.values.astype(int)).max() for layer in onnx.linear_layers(model)]
        assert max(reach) <= (64 if weight_range == "half" else 127) and len(reach) == 8
        constants = {constant.name: numpy.to_array(constant) for constant in model.graph.initializer}
        pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
        return {node.output[0]: constants[node.input[1]] for node in pairs if node.input[0] not in constants}

    full, half = scales("full"), scales("half")
    doubled = [name for name in full if np.all(half[name] > 1.5 * full[name])]
    # QuantizeLinear and DequantizeLinear of the keys.
    assert full.keys() == half.keys() and len(doubled) == 2
