"""The table of sensitivities: its errors computed another way, its order, and which FakeQuantize acts for what."""

from __future__ import annotations

import json

import numpy as np
import pytest

from optkit.adapters import nncf
from optkit.ir.io import import_openvino, read_model
from optkit.ir.layers import linear_layers
from optkit.quantization.config import Quantization
from optkit.quantization.differences import _in_f32
from optkit.quantization.operations import operations
from optkit.quantization.quantize import quantize
from optkit.quantization.sensitivity import LayerSensitivity, Sensitivity, measure_sensitivity, only

PLAIN = Quantization(bias_correction=None)


def _relative(model, reference, feeds):
    one, two = (np.concatenate([out.ravel() for out in _in_f32(m, feeds)]) for m in (model, reference))
    return float(np.linalg.norm(one - two) / np.linalg.norm(two))


def test_the_error_of_a_layer_is_that_of_its_rounded_weight_alone(tiny):
    """Of weights alone, by putting the rounded weight into the fp32 model by hand."""
    model = read_model(tiny.ir)
    how = Quantization.of_weights()
    table = measure_sensitivity(model, tiny.samples, how)
    assert len(table.layers) == 11 and table.samples == 4
    errors = {layer.module: layer.error for layer in table.layers}
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
    # Scores of this model are so small that float32 may lose what the rounding of queries or keys does.
    assert all(error > 0 for module, error in errors.items() if not module.endswith((".query", ".key")))

    rounded = {layer.matmul: layer.weight for layer in linear_layers(quantize(model, tiny.samples, how).model)}
    feeds = nncf.feeds(model, tiny.samples)
    for module in ("classifier", "bert.encoder.layer.0.output.dense"):
        changed = read_model(tiny.ir)
        [name] = operations(changed, {})[module]
        node = next(n for n in changed.get_ordered_ops() if n.get_friendly_name() == name)
        weight = rounded[name].values * rounded[name].scale.astype(np.float32)
        node.input(1).replace_source_output(import_openvino().op.Constant(weight).output(0))
        assert errors[module] == pytest.approx(_relative(changed, model, feeds), rel=0.02)


def test_only_what_is_kept_is_quantized(tiny):
    model = read_model(tiny.ir)
    feeds = nncf.feeds(model, tiny.samples)
    simulated = nncf.quantize_int8(model, tiny.samples, quantization=PLAIN, simulated=True)
    every = {name for names in operations(model, {}).values() for name in names}

    def count(kept):
        return sum(n.get_type_name() == "FakeQuantize" for n in only(simulated, every, kept).get_ordered_ops())

    assert count(set()) == 0 and _relative(only(simulated, every, set()), model, feeds) < 1e-5
    whole = only(simulated, every, every)
    assert count(every) == sum(n.get_type_name() == "FakeQuantize" for n in simulated.get_ordered_ops())
    assert _relative(whole, simulated, feeds) == 0 and _relative(whole, model, feeds) > 1e-4
    query = next(name for name in every if "self.query" in name)
    assert count({query}) == 2  # its weight, and its input that it shares with key and value
    attention = next(name for name in every if "attention.self/" in name)  # one node, or plain products
    assert 1 <= count({attention}) <= 3


def test_the_table_of_full_int8(tiny):
    how = Quantization(ignored=("*_embeddings",))
    table = measure_sensitivity(read_model(tiny.ir), tiny.samples, how)
    assert len(table.layers) == 9 and not any("embeddings" in layer.module for layer in table.layers)
    # Errors of layers alone are small and independent: together they make about the root of their squares' sum.
    alone = np.sqrt(sum(layer.error**2 for layer in table.layers))
    assert 0.3 * alone < table.together < 3 * alone


def test_it_is_data_and_prints():
    from rich.console import Console

    layers = tuple(LayerSensitivity(f"layer.{i}", 0.5 / (i + 1)) for i in range(25))
    table = Sensitivity(layers, 0.75, 32)
    read = json.loads(table.to_json())
    assert read["together"] == 0.75 and read["samples"] == 32 and len(read["layers"]) == 25
    assert read["layers"][1] == {"module": "layer.1", "error": 0.25}
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(table.render())
    text = captured.get()
    assert "layer.0" in text and "50.00%" in text and "layer.20" not in text and "5 more" in text and "75.00%" in text
