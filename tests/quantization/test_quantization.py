"""Options of int8 on a tiny BERT: what stays fp32, weights alone, accuracy control by exact counts, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from optkit import runtime
from optkit.errors import ExportError, UsageError
from optkit.export.openvino import export_openvino
from optkit.ir.io import import_openvino, read_model
from optkit.ir.layers import linear_layers, parameters
from optkit.ir.tags import read_tags
from optkit.pruning.config import Rule
from optkit.quantization.config import Quantization
from optkit.quantization.operations import module_of, operations
from optkit.quantization.quantize import quantize

pytestmark = pytest.mark.slow

LAYER = "bert.encoder.layer.0"
MODULES = [
    *(f"bert.embeddings.{name}_embeddings" for name in ("word", "token_type", "position")),
    *(f"{LAYER}.attention.self.{name}" for name in ("query", "key", "value")),
    *(f"{LAYER}.attention.self", f"{LAYER}.attention.output.dense"),
    *(f"{LAYER}.intermediate.dense", f"{LAYER}.output.dense", "bert.pooler.dense", "classifier"),
]


def _types(model):
    return {module_of(layer.matmul): layer.weight.dtype for layer in linear_layers(model)}


def _eights(model):
    """How many weights are int8, embeddings too."""
    return sum(weight.dtype == "i8" for _, weight in parameters(model))


def test_operations_are_known_by_their_modules(tiny):
    model = read_model(tiny.ir)
    assert sorted(operations(model, {})) == sorted(MODULES)
    assert sorted(operations(model, {}, weights_only=True)) == sorted({*MODULES} - {f"{LAYER}.attention.self"})
    matmul = next(layer.matmul for layer in linear_layers(model) if "query" in layer.matmul)
    assert operations(model, {matmul: "mine.weight"})["mine"] == [matmul]
    assert module_of("/bert/encoder/layer.0/output/dense/MatMul") == f"{LAYER}.output.dense"
    assert module_of("node_17") == "node_17"


@pytest.fixture(scope="module")
def kept(tiny, tmp_path_factory):
    """An export whose query and classifier are left in fp32, with a table of sensitivities."""
    output = tmp_path_factory.mktemp("kept") / "openvino"
    how = Quantization(ignored=("*.query", "classifier"), sensitivity=True)
    options = {"export_task": "text-classification", "rules": [Rule(structure="1x4")], "calibration": tiny.samples}
    return output, export_openvino(tiny.checkpoint, output, quantization=how, **options)


def test_ignored_layers_keep_their_weights_to_the_bit(tiny, kept):
    output, result = kept
    assert result.fp32 == (f"{LAYER}.attention.self.query", "classifier")
    checkpoint = load_file(tiny.checkpoint / "model.safetensors")
    stored = {module_of(layer.matmul): layer.weight for layer in linear_layers(read_model(output))}
    assert {module for module, weight in stored.items() if weight.dtype != "i8"} == set(result.fp32)
    for module in result.fp32:
        assert stored[module].scale is None and np.array_equal(stored[module].values, checkpoint[f"{module}.weight"])
    tags = {tag.parameter: tag for tag in read_tags(output).layers}
    assert len(tags) == 8
    for parameter, tag in tags.items():
        assert (tag.int8_sparsity is None) == (parameter.removesuffix(".weight") in result.fp32)
        assert tag.sparsity == pytest.approx(tiny.zeros.get(parameter, 0) / checkpoint[parameter].size, abs=1e-6)


def test_an_ignored_layer_costs_nothing(kept):
    """SmoothQuant's scaling is not left before a layer that is not quantized."""
    for node in read_model(kept[0]).get_ordered_ops():
        if node.get_type_name() == "MatMul" and module_of(node.get_friendly_name()) in kept[1].fp32:
            assert node.input_value(0).get_node().get_type_name() not in ("Multiply", "FakeQuantize")


def test_smoothing_and_bias_correction_can_be_switched_off(tiny):
    def made(**options):
        model = quantize(read_model(tiny.ir), tiny.samples, Quantization(**options)).model
        names = [node.get_friendly_name() for node in model.get_ordered_ops() if "smooth_quant" in str(node)]
        scales = {module_of(layer.matmul): layer.weight.scale for layer in linear_layers(model)}
        return names, scales, _biases(model)

    names, scales, biases = made()
    half_names, half_scales, _ = made(smooth_quant=0.5)
    off_names, _, off_biases = made(smooth_quant=None, bias_correction=None)
    accurate = made(bias_correction="accurate")[2]
    assert names and half_names and not off_names
    assert any(not np.array_equal(scales[module], half_scales[module]) for module in scales)
    plain = _biases(read_model(tiny.ir))
    assert off_biases == plain and biases != plain and accurate not in (plain, biases)


def _biases(model):
    """What is added to the linear layers, as bytes."""
    return sorted(
        weight.values.astype(np.float32).tobytes()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Add"
        for value in node.input_values()
        if (weight := _constant(value)) is not None
    )


def _constant(value):
    from optkit.ir.layers import constant_weight

    weight = constant_weight(value.get_node())
    return weight if weight is not None and weight.values.dtype.kind == "f" and weight.values.size > 1 else None


def test_weights_alone(tiny, tmp_path):
    """Symmetric, so zeros are zeros; activations are floats; the full range; OpenVINO is not told to pack them."""
    how = {"export_task": "text-classification", "rules": [Rule(structure="1x4")]}
    result = export_openvino(tiny.checkpoint, tmp_path, quantization=Quantization.of_weights(), **how)
    model, checkpoint = read_model(tmp_path), load_file(tiny.checkpoint / "model.safetensors")
    assert "FakeQuantize" not in {node.get_type_name() for node in model.get_ordered_ops()}
    assert _eights(model) == len(MODULES) - 1 and set(_types(model).values()) == {"i8"}
    for layer in linear_layers(model):
        weight = checkpoint[f"{module_of(layer.matmul)}.weight"]
        values = layer.weight.values.astype(np.float32) * layer.weight.scale
        assert not values[weight == 0].any() and np.abs(layer.weight.values.astype(int)).max() in (127, 128)
        assert np.abs(values - weight).max() <= 0.51 * np.abs(weight).max(1).max() / 127
    assert result.decompression_rate == 1.0
    assert {tag.parameter for tag in result.layers if (tag.int8_sparsity or 0) >= 0.79} == set(tiny.zeros)

    ids = np.array([tiny.samples[3]["input_ids"]])
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    core = import_openvino().Core()
    exact = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "INFERENCE_PRECISION_HINT": "f32"}
    one, two = (core.compile_model(m, "CPU", exact)(feed)["logits"] for m in (read_model(tiny.ir), model))
    assert np.abs(one - two).max() < 0.05 * np.abs(one).max() and not np.array_equal(one, two)
    if runtime.available():
        from optkit.runtime.rewriting.sites import sites

        assert {site.quantization for site in sites(model)} == {None}
        sparse = runtime.compile_model(tmp_path / "openvino_model.xml", exact, plan="static")
        assert np.abs(sparse(feed)["logits"] - two).max() < 0.01 * np.abs(two).max()


@pytest.mark.parametrize(("limit", "left"), [(11, 11), (8.5, 8), (0, 0)])
def test_accuracy_control_reverts_as_few_of_the_most_sensitive_layers_as_keep_the_limit(tiny, limit, left):
    """A point is lost by each int8 weight, so the limit says how many may stay."""
    model, scored = read_model(tiny.ir), []

    def score(candidate):
        scored.append(_eights(candidate))
        return 0.9 - 0.01 * scored[-1]

    made = quantize(model, tiny.samples, Quantization.of_weights(max_drop=limit), score=score)
    assert _eights(made.model) == left and len(made.fp32) == 11 - left
    assert (made.control.limit, made.control.reference) == (limit, 0.9)
    assert (made.control.before, made.control.after) == (pytest.approx(11), pytest.approx(left))
    assert made.control.tried == len(scored) - 1 <= 9  # the first score is that of the fp32 model
    if left < 11:
        assert list(made.fp32) == [layer.module for layer in made.sensitivity.layers[: 11 - left]]
        again = quantize(model, tiny.samples, Quantization.of_weights(ignored=made.fp32)).model
        assert _types(again) == _types(made.model)
    else:
        assert made.sensitivity is None and made.control.tried == 1


def test_a_limit_that_nothing_keeps_is_told(tiny):
    scores = iter([0.9] + [0.5] * 30)
    with pytest.raises(ExportError, match="^max_drop: 40.00 points are lost even with every layer in fp32, 1 are"):
        quantize(
            read_model(tiny.ir), tiny.samples, Quantization.of_weights(max_drop=1), score=lambda model: next(scores)
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight_range": "avx9"}, "unknown quantization weight range 'avx9': one of half, full"),
        ({"method": "int4"}, "unknown quantization method 'int4': one of int8, int8_weights"),
        ({"bias_correction": "slow"}, "unknown quantization bias correction 'slow': one of None, fast, accurate"),
        ({"smooth_quant": 1.5}, "smooth_quant is 1.5: its alpha is above 0 and up to 1, or auto"),
        ({"smooth_quant": "much"}, "smooth_quant is much: its alpha is above 0 and up to 1, or auto"),
        ({"method": "int8_weights"}, "int8_weights leaves activations alone: switch smooth_quant and"),
        ({"max_drop": -1}, "max_drop is -1: points lie between 0 and 100"),
    ],
)
def test_options_that_contradict_are_refused(options, said):
    with pytest.raises(UsageError, match=f"^{said}"):
        Quantization(**options)


def test_bad_input_is_one_clear_line(tiny):
    model = read_model(tiny.ir)
    for how, samples, said in (
        (Quantization(), [], "int8 needs calibration samples, and there are none"),
        (
            Quantization(),
            [{"sentence": "a b"}],
            "calibration samples have no '.*', which the model needs: only sentence",
        ),
        (Quantization(), [{"input_ids": []}], "a calibration sample has no input_ids: tokenise it first"),
        (
            Quantization(ignored=("*.qeury",)),
            tiny.samples,
            r"ignored: '\*.qeury' matches no module that is quantized, did you mean 'query'",
        ),
        (Quantization(max_drop=1), tiny.samples, "max_drop needs something that scores a model: give `evaluate`"),
        (Quantization.of_weights(sensitivity=True), [], "sensitivity compares outputs on calibration samples, and"),
    ):
        with pytest.raises(ExportError, match=f"^{said}") as caught:
            quantize(model, samples, how)
        assert "\n" not in str(caught.value)


def test_nan_in_a_weight_is_told_by_its_layer(tiny):
    model = read_model(tiny.ir)
    node = next(n for n in model.get_ordered_ops() if "layer.0.output.dense" in n.get_friendly_name())
    while node.get_type_name() != "MatMul":
        node = next(iter(node.output(0).get_target_inputs())).get_node()
    weight = np.array(node.input_value(1).get_node().data)
    weight[1, 2:5] = np.nan
    node.input(1).replace_source_output(import_openvino().op.Constant(weight).output(0))
    with pytest.raises(ExportError, match=f"^{LAYER}.output.dense: 3 of 2048 weights are NaN or infinite"):
        quantize(model, tiny.samples, Quantization())
