"""The strength of SmoothQuant that is found: the usual one, but where it spoils the outputs."""

from __future__ import annotations

import numpy as np
import pytest

from optkit.adapters.nncf import feeds
from optkit.ir.emulation import emulate_f32
from optkit.ir.io import import_openvino, read_model
from optkit.quantization import differences, smoothing
from optkit.quantization.config import STRENGTH, Quantization
from optkit.quantization.differences import FAR, Reference
from optkit.quantization.quantize import quantize
from optkit.quantization.smoothing import Smoothing, Trial

openvino = import_openvino()
ops = openvino.opset13
WIDTH, OUTLIER = 32, 150.0


def model_with_an_outlier(rng) -> openvino.Model:
    """A linear layer whose first input is ``OUTLIER``, which its bias takes back: the others alone tell texts apart."""
    weight = rng.choice([-1.0, 1.0], (8, WIDTH)).astype(np.float32)
    x = ops.parameter([-1, WIDTH], np.float32, name="x")
    product = ops.matmul(x, ops.constant(weight, name="layer.weight"), False, True)
    product.set_friendly_name("__module.layer/aten::linear/MatMul")
    bias = ops.constant(-OUTLIER * weight[None, :, 0])
    return openvino.Model([ops.add(product, bias)], [x], "outlier")


def samples_of(rng, count: int = 40) -> list[dict]:
    rows = rng.standard_normal((count, WIDTH)).astype(np.float32)
    rows[:, 0] = OUTLIER
    return [{"x": row} for row in rows]


def test_where_the_weights_would_bear_too_much_another_strength_is_taken():
    rng = np.random.default_rng(0)
    model, samples = model_with_an_outlier(rng), samples_of(rng)
    result = quantize(model, samples, Quantization(bias_correction=None))
    errors = {trial.strength: trial.error for trial in result.smoothing.trials}
    assert list(errors) == [STRENGTH, 0.75, 0.5, None]
    assert errors[STRENGTH] > smoothing.NEAR and errors[result.smoothing.strength] == min(errors.values())
    assert result.smoothing.strength == 0.5
    # It is the model of that strength.
    again = quantize(model, samples, Quantization(smooth_quant=0.5, bias_correction=None))
    assert again.smoothing is None
    compiled = [openvino.Core().compile_model(each.model, "CPU") for each in (result, again)]
    outputs = [each(samples[0]["x"][None])[0] for each in compiled]
    np.testing.assert_array_equal(*outputs)


def test_what_is_near_is_taken_without_trying_others(tiny):
    result = quantize(read_model(tiny.ir), tiny.samples, Quantization())
    assert result.smoothing.strength == STRENGTH and len(result.smoothing.trials) == 1
    assert result.smoothing.trials[0].error <= smoothing.NEAR


class Says:
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.mark.parametrize(
    ("by_strength", "strength", "said"),
    [
        ({0.95: 0.9, 0.75: 0.8, 0.5: 0.3, None: 0.1}, None, ["  int8 without SmoothQuant: outputs are off by 10%, with 0.95 by 90%"]),
        ({0.95: 0.9, 0.75: 0.2, 0.5: 0.3, None: 1.0}, 0.75, ["  int8 with SmoothQuant 0.75: outputs are off by 20%, with 0.95 by 90%"]),
        ({0.95: 0.3, 0.75: 0.4, 0.5: 0.3, None: 1.0}, 0.95, []),
        ({0.95: 0.08}, 0.95, []),
        ({0.95: 0.0801, 0.75: 0.04, 0.5: 0.05, None: 0.06}, 0.75, ["  int8 with SmoothQuant 0.75: outputs are off by 4%, with 0.95 by 8%"]),
    ],
)  # fmt: skip
def test_the_nearest_outputs_decide(tiny, monkeypatch, by_strength, strength, said):
    class Reference:
        def __init__(self, model, feeds):
            assert len(feeds) == len(tiny.samples)

        def error(self, made):
            return by_strength[made]

    monkeypatch.setattr(smoothing, "Reference", Reference)
    reporter = Says()
    made = lambda quantization: quantization.smooth_quant  # noqa: E731
    found, chosen, result = smoothing.choose(read_model(tiny.ir), tiny.samples, Quantization(), made, reporter)
    assert found == strength and chosen == Quantization(smooth_quant=strength) and reporter.lines == said
    assert result == Smoothing(strength, tuple(Trial(*each) for each in by_strength.items()))


def test_places_without_a_finite_output_are_not_compared():
    rng = np.random.default_rng(0)
    model, samples = model_with_an_outlier(rng), samples_of(rng)
    (layer,) = (node for node in model.get_ordered_ops() if node.get_type_name() == "Add")
    never = np.where(np.arange(8) == 3, -np.inf, 0.0).astype(np.float32)
    model = openvino.Model([ops.add(layer, ops.constant(never))], model.get_parameters(), "a class that cannot be")
    result = quantize(model, samples, Quantization(bias_correction=None))
    errors = {trial.strength: trial.error for trial in result.smoothing.trials}
    assert errors[STRENGTH] > smoothing.NEAR and errors[result.smoothing.strength] == min(errors.values())


def test_outputs_that_are_no_numbers_are_farther_than_any():
    x = ops.parameter([-1, 2], np.float32, name="x")
    feeds = [{"x": np.ones((1, 2), np.float32)}]
    reference = Reference(openvino.Model([ops.multiply(x, np.float32(2))], [x], "twice"), feeds)
    assert reference.error(openvino.Model([ops.divide(x, np.float32(0))], [x], "none")) == FAR


def test_sums_that_overflow_in_openvino_are_computed_in_floats(tiny, monkeypatch):
    quantization = Quantization(weight_range="full", smooth_quant=0.5)
    int8 = quantize(read_model(tiny.ir), tiny.samples, quantization).model
    reference = Reference(read_model(tiny.ir), feeds(read_model(tiny.ir), tiny.samples))
    emulated = []

    def watch(model):
        emulated.append(emulate_f32(model))
        return emulated[-1]

    monkeypatch.setattr(differences, "emulate_f32", watch)
    monkeypatch.setattr(differences, "int8_saturates", lambda: True)
    error = reference.error(int8)
    assert error == reference.error(emulated[0]) and 0 < error < 0.2
    monkeypatch.setattr(differences, "int8_saturates", lambda: False)
    reference.error(int8)
    assert len(emulated) == 2
