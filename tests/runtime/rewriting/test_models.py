"""Whole models of several architectures: rewritten, they compute what they did, and what can be fused is."""

from __future__ import annotations

import random

import numpy as np
import pytest
from rewritten import (
    BLOCK4,
    ELEMENT,
    apart,
    difference,
    expected,
    in_numpy,
    kernels_of,
    ov,
    rewrite_here,
    run,
    steps,
    types,
)

from optkit.adapters import optimum
from optkit.ir.io import read_model
from optkit.runtime.rewriting import rewrite, sites

pytestmark = pytest.mark.slow

ARCHITECTURES = ["bert", "roberta", "distilbert", "electra", "albert", "mpnet", "deberta", "vit"]
KERNELS = {"fp32": ELEMENT, "int8": BLOCK4}
CASES = [(name, "fp32") for name in ARCHITECTURES] + [
    (name, "int8") for name in ("bert", "mpnet", "albert", "vit", "deberta")
]
#: Of the largest output. In int8 two ways to compute may round one activation to neighbouring levels, 1/255 apart.
TOLERANCE = {"fp32": 1e-4, "int8": 0.04}


def feed(model, batch: int, length: int) -> dict[str, np.ndarray]:
    """Inputs of a model, the sequences of a batch of different lengths."""
    rng = np.random.default_rng(0)
    tokens = {"input_ids": rng.integers(2, 60, (batch, length)), "token_type_ids": np.zeros((batch, length), np.int64)}
    lengths = length - np.arange(batch)[:, None] * (length // 4)
    tokens["attention_mask"] = (np.arange(length) < lengths).astype(np.int64)
    tokens["pixel_values"] = rng.normal(size=(batch, 3, 32, 32)).astype(np.float32)
    return {name: tokens[name] for port in model.inputs for name in port.get_names() if name in tokens}


@pytest.mark.parametrize(("architecture", "precision"), CASES)
def test_computes_the_same_whatever_is_chosen(ir, architecture, precision):
    original = read_model(ir(architecture, precision))
    names = [site.matmul for site in sites(original) if site.supported]
    assert len(names) >= 13
    draw = random.Random(0)
    some = {name for name in names if draw.random() < 0.5}
    feeds = [feed(original, batch, length) for batch, length in ((1, 9), (3, 14))]
    wanted = expected(original, *feeds)
    for chosen, attention in ((names, True), (names, False), (some, True)):
        model = read_model(ir(architecture, precision))
        result = rewrite_here(model, dict.fromkeys(chosen, KERNELS[precision]), attention=attention)
        assert result.left_out == {}
        # Nothing that Programs compute is computed by OpenVINO as well.
        left = len(names) - len(chosen) + types(original).count("MatMul") - len(sites(original))
        assert types(model).count("MatMul") <= left
        assert sorted(layer for placed in result.programs for layer in placed.layers) == sorted(chosen)
        assert [port.get_names() for port in model.outputs] == [port.get_names() for port in original.outputs]
        assert apart(wanted, run(model, *feeds)) < TOLERANCE[precision]


@pytest.mark.parametrize(("architecture", "precision"), CASES)
def test_an_encoder_is_one_program(ir, architecture, precision):
    model = read_model(ir(architecture, precision))
    names = kernels_of(model, KERNELS[precision], but=("classifier", "pooler"))
    result = rewrite(model, names, create_node=in_numpy)
    assert [len(placed.layers) for placed in result.programs] == [len(names)]
    found = steps(result)[0]
    assert found.count("RelativePositions") == (4 if architecture == "deberta" else 0)
    assert found.count("Attention") == 2 and found.count("LayerNorm") >= 4 and found.count("Add") >= 4
    assert found.count("Linear") == len(names)
    # Biases, gamma and beta went into the steps they belong to, and SmoothQuant's factors into the quantization.
    # Where optimum-intel did not convert, SmoothQuant's stand before heads are joined.
    assert "Affine" not in found or (optimum.missing() is not None and precision == "int8")
    assert len(result.programs[0].program.outputs) == 1
    assert not {"Softmax", "ScaledDotProductAttention"} & set(types(model))
    # A mask multiplies what DeBERTa's first LayerNorm makes.
    assert types(model).count("MVN") == (architecture == "deberta")


def test_the_reference_and_openvino_agree_on_a_model(ir):
    original, model = (read_model(ir("bert", "int8")) for _ in range(2))
    rewrite(model, kernels_of(model, BLOCK4), create_node=in_numpy)
    assert types(model).count("Program") == 2
    assert difference(original, model, feed(model, 2, 11)) < TOLERANCE["int8"]


def test_layers_that_read_the_same_quantize_it_once(ir):
    model = read_model(ir("bert", "int8"))
    result = rewrite(model, kernels_of(model, BLOCK4), create_node=in_numpy)
    linears = [step for step in result.programs[0].program.steps if type(step).__name__ == "Linear"]
    query, key, value, output = (step.quantization for step in linears[:4])
    assert query is key is value and output is not query
    assert query.channel_scale.shape == (32,)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("architecture", "precision"), [("deberta", "int8"), ("deberta", "fp32"), ("mpnet", "int8")])
def test_padding_left_and_right(ir, architecture, precision, left):
    original, model = (read_model(ir(architecture, precision)) for _ in range(2))
    rewrite_here(model, kernels_of(model, KERNELS[precision]))
    feeds = [feed(original, 3, 14)]
    if left:
        feeds[0]["attention_mask"] = feeds[0]["attention_mask"][:, ::-1].copy()
    assert apart(expected(original, *feeds), run(model, *feeds)) < TOLERANCE[precision]


def test_what_was_fused_is_told(ir):
    model = read_model(ir("bert", "int8"))
    result = rewrite(model, kernels_of(model, BLOCK4), create_node=in_numpy)
    fused = {name.split("layer.1.")[-1].split("/")[0]: found for name, found in result.programs[0].fused.items()}
    assert fused["attention.self.query"] == ("shared input", "bias", "fake_quantize", "attention")
    assert fused["attention.self.value"] == ("shared input", "bias", "attention")
    assert fused["intermediate.dense"] == ("bias", "gelu_erf")
    assert fused["output.dense"] == ("bias", "residual", "layer_norm")
    assert result.notes == {} and result.left_out == {}


def test_a_mask_that_only_repeats_is_not_spread_out(ir):
    model = read_model(ir("bert", "fp32"))
    result = rewrite(model, kernels_of(model, ELEMENT), create_node=in_numpy)
    program = result.programs[0].program
    masked = program.inputs.index(next(value for value in program.inputs if program.features[value] == 0))
    shape = result.programs[0].node.input_value(masked).get_partial_shape()
    # (batch, 1, 1, seq), where the exporter made (batch, 1, seq, seq) of it.
    assert [size.get_length() if size.is_static else None for size in shape] == [None, 1, 1, None]


def test_hidden_states_and_attention_outputs_remain(ir):
    def with_hidden_states():
        model = read_model(ir("bert", "fp32"))
        wanted = ("layer.0.output.LayerNorm/aten::layer_norm/Add", "layer.1.intermediate.dense/aten::linear/Add")
        for node in model.get_ordered_ops():
            if node.get_friendly_name().endswith(wanted):
                model.add_outputs(node.output(0))
        assert len(model.outputs) == 3
        return model

    original, model = with_hidden_states(), with_hidden_states()
    for i, port in enumerate(model.outputs):
        port.get_tensor().set_names({f"output_{i}"})
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert [len(placed.program.outputs) for placed in result.programs] == [3, 1]
    assert [port.get_names() for port in model.outputs] == [{f"output_{i}"} for i in range(3)]
    assert difference(original, model, feed(model, 2, 9)) < 1e-4


def test_a_feed_forward_left_to_openvino_parts_the_programs(ir):
    original, model = (read_model(ir("bert", "int8")) for _ in range(2))
    names = kernels_of(model, BLOCK4, but=("layer.0.intermediate", "layer.0.output", "pooler", "classifier"))
    result = rewrite_here(model, names)
    assert [len(placed.layers) for placed in result.programs] == [4, 6]
    # OpenVINO quantizes what it computes itself, and has its own GELU.
    assert types(model).count("Gelu") == 1
    assert difference(original, model, feed(model, 2, 9)) < TOLERANCE["int8"]


def test_dynamic_quantization_of_an_fp32_model(ir):
    original, model = (read_model(ir("bert", "fp32")) for _ in range(2))
    names = kernels_of(model, BLOCK4)
    assert rewrite_here(read_model(ir("bert", "fp32")), names).programs == ()
    result = rewrite_here(model, names, dynamic=True)
    assert result.left_out == {}
    linears = [step for step in result.programs[0].program.steps if type(step).__name__ == "Linear"]
    assert all(step.quantization.low is None and step.weights.values.dtype == np.int8 for step in linears)
    assert linears[0].quantization is linears[1].quantization
    assert 1e-6 < difference(original, model, feed(model, 2, 9)) < 0.1


def test_an_ir_compressed_to_fp16(ir, tmp_path):
    ov.save_model(read_model(ir("bert", "fp32")), tmp_path / "half.xml", compress_to_fp16=True)
    original, model = (ov.Core().read_model(tmp_path / "half.xml") for _ in range(2))
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert [len(placed.layers) for placed in result.programs] == [12, 2]
    inputs = feed(model, 2, 9)
    for wanted, got in zip(*run(original, inputs), *run(model, inputs)):
        np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())


def test_layers_with_unequal_numbers_of_heads(tmp_path):
    from architectures import emptied

    from optkit.export import conversion
    from optkit.pruning.compaction.checkpoint import save_compact
    from optkit.pruning.compaction.compaction import compact

    model = emptied("bert", heads=((0,), (1, 2)))
    save_compact(model, compact(model), tmp_path / "checkpoint")
    conversion.convert(tmp_path / "checkpoint", tmp_path, task="text-classification")
    original, rewritten = (read_model(tmp_path) for _ in range(2))
    feeds = [feed(original, 2, 9)]
    result = rewrite_here(rewritten, kernels_of(rewritten, ELEMENT))
    heads = [step.heads for placed in result.programs for step in placed.program.steps if hasattr(step, "heads")]
    assert heads == [3, 2]
    assert apart(expected(original, *feeds), run(rewritten, *feeds)) < TOLERANCE["fp32"]
