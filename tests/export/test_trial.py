"""Architectures that optimum-intel cannot convert: converted by openvino.convert_model, or refused on a small model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from architectures import SIZES
from capabilities import need
from exported import F32, load_ir

from optkit.adapters import optimum
from optkit.adapters.conversion_check import largest_difference
from optkit.errors import ExportError, OptkitError
from optkit.export import conversion
from optkit.export.trial import onnx_problem, openvino_problem, stand_in
from optkit.quantization.config import Quantization

SMALL = SIZES | {"vocab_size": 60, "max_position_embeddings": 40, "pad_token_id": 0}
XLM = {"vocab_size": 60, "emb_dim": 32, "n_layers": 2, "n_heads": 2, "pad_token_id": 0}
XLNET = {"vocab_size": 60, "d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "pad_token_id": 0}
FUNNEL = {"vocab_size": 60, "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 16, "block_sizes": [1, 1]}
LONGFORMER = {**SMALL, "attention_window": 8}
CLASSIFIER = "AutoModelForSequenceClassification"


def config_of(kind: str, **values):
    return transformers.AutoConfig.for_model(kind, **values)


def classifier(kind: str, **values):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(transformers, CLASSIFIER).from_config(config_of(kind, **values)).eval()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("data2vec-text", {**SMALL, "type_vocab_size": 1}),
        ("fnet", {**SMALL, "intermediate_size": 32}),  # without attention, so without a mask
        ("xlm", XLM),  # keeps keys and values for a next pass
        pytest.param("ernie", SMALL, marks=pytest.mark.slow),
        pytest.param("megatron-bert", SMALL, marks=pytest.mark.slow),
        pytest.param("roberta-prelayernorm", {**SMALL, "type_vocab_size": 1}, marks=pytest.mark.slow),
        pytest.param("nomic_bert", SMALL, marks=pytest.mark.slow),
        pytest.param("flaubert", XLM, marks=pytest.mark.slow),
        pytest.param("big_bird", {**SMALL, "attention_type": "original_full"}, marks=pytest.mark.slow),
        pytest.param("xlnet", XLNET, marks=pytest.mark.slow),
    ],
)
def test_a_type_that_optimum_intel_cannot_convert_computes_the_same_as_an_ir(tmp_path, kind, values):
    assert optimum.problem(kind, "text-classification") is not None
    model = classifier(kind, **values)
    model.save_pretrained(tmp_path / "checkpoint")
    ids = torch.arange(5, 35)[None].repeat(2, 1)
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    taken = {"input_ids": ids, "attention_mask": mask} if kind != "fnet" else {"input_ids": ids}
    with torch.no_grad():
        wanted = model(**taken).logits.numpy()
    (tmp_path / "fp32").mkdir()
    assert conversion.convert(tmp_path / "checkpoint", tmp_path / "fp32", task="text-classification") == "openvino"
    exact = load_ir(tmp_path / "fp32", F32)
    np.testing.assert_allclose(exact(input_ids=ids, attention_mask=mask).logits, wanted, rtol=0, atol=1e-5)


def test_without_optimum_intel_its_types_are_converted_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(optimum, "installed", lambda package: None)
    model = classifier("bert", **SMALL)
    model.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "ir").mkdir()
    assert conversion.convert(tmp_path / "checkpoint", tmp_path / "ir", task="text-classification") == "openvino"
    with pytest.raises(OptkitError, match="cannot load it: optimum-intel is not installed: pip install"):
        optimum.load(tmp_path / "ir")


def test_attention_in_windows_has_finite_masks_and_no_strides(tmp_path):
    """Longformer views its memory as overlapping windows; a window that holds padding alone has nothing to attend to,
    also where OpenVINO computes in bfloat16.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config_of("longformer", **LONGFORMER)).eval()
    model.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "ir").mkdir()
    conversion.convert(tmp_path / "checkpoint", tmp_path / "ir", task="feature-extraction")
    ids, mask = torch.arange(5, 35)[None].repeat(2, 1), torch.ones(2, 30, dtype=torch.long)
    mask[1, 4:] = 0
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=mask).last_hidden_state
    for precision, apart in (("f32", 1e-5), ("bf16", 0.1)):
        model = load_ir(tmp_path / "ir", {"INFERENCE_PRECISION_HINT": precision})
        found = torch.as_tensor(model(input_ids=ids, attention_mask=mask).last_hidden_state)
        assert (found - wanted)[mask.bool()].abs().max() < apart


@pytest.mark.parametrize("segments", [True, False])
def test_segments_are_an_input_where_the_tokenizer_makes_them(tmp_path, segments):
    """XLM adds to each token the embedding of its segment, if it is given one."""
    from optkit.models.wordpiece import train_wordpiece

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, CLASSIFIER).from_config(config_of("xlm", **XLM)).eval()
    model.save_pretrained(tmp_path / "checkpoint")
    tokenizer = train_wordpiece(["a soup was fine", "a song was poor"], 60, 40, token_types=segments)
    tokenizer.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "ir").mkdir()
    conversion.convert(tmp_path / "checkpoint", tmp_path / "ir", task="text-classification")
    exact = load_ir(tmp_path / "ir", F32)
    inputs = tokenizer(["a soup was fine", "a song"], padding=True, return_tensors="pt")
    assert ("token_type_ids" in inputs) == segments
    with torch.no_grad():
        wanted = model(**inputs).logits.numpy()
    np.testing.assert_allclose(exact(**inputs).logits, wanted, rtol=0, atol=1e-5)


def test_images_of_a_type_without_a_configuration():
    values = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config, task = config_of("dinov2", **values), "image-classification"
    assert optimum.problem("dinov2", task) == (optimum.missing() or "its export was removed there")
    options = {"tokenizer": None, "quantization": Quantization()}
    assert openvino_problem(config, "AutoModelForImageClassification", task, **options) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        ("longformer", LONGFORMER, "it was traced for one size, and fails with inputs of 1x39"),
        ("nystromformer", {**SMALL, "num_landmarks": 8}, "it cannot be traced: shape '[-1, 2, 8, 8, 16]' is invalid"),
        ("big_bird", SMALL, "set attention_type to original_full"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(tmp_path, kind, values, reason):
    config = config_of(kind, **values)
    options = {"tokenizer": None, "quantization": None}
    found = openvino_problem(config, CLASSIFIER, "text-classification", **options)
    assert found.startswith(f"model: {kind} cannot be exported to OpenVINO for text-classification with openvino ")
    assert reason in found and "\n" not in found and "such as bert, distilbert" in found
    assert found.endswith("stop before it with --stop-after train")
    # What is refused is what the export would raise, hours later.
    stand_in(config, CLASSIFIER, 1).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(ExportError, match="it cannot be converted for text-classification"):
        conversion.convert(tmp_path / "checkpoint", tmp_path / "ir", task="text-classification")


def test_the_int8_form_is_tried_too(monkeypatch):
    from optkit.adapters import nncf

    def refuse(*_, **__):
        raise ExportError("NNCF cannot quantize the model: no")

    monkeypatch.setattr(nncf, "quantize_int8", refuse)
    config = config_of("ernie", **{**SMALL, "num_attention_heads": 4})
    arguments = (config, CLASSIFIER, "text-classification")
    assert openvino_problem(*arguments, tokenizer=None, quantization=None) is None
    assert "NNCF cannot quantize the model: no" in openvino_problem(
        *arguments, tokenizer=None, quantization=Quantization()
    )


def test_types_whose_own_configuration_works_are_not_tried(monkeypatch):
    monkeypatch.setattr("optkit.export.trial.stand_in", None)
    options = {"tokenizer": None, "quantization": None}
    assert openvino_problem(config_of("bert", **SMALL), CLASSIFIER, "text-classification", **options) is None


def test_where_optimum_intel_fails_openvino_converts(tmp_path):
    """optimum-intel's I-BERT is a model whose output no feature-extraction asks for."""
    need("optimum-intel")
    assert optimum.problem("ibert", "feature-extraction") is None
    stand_in(config_of("ibert", **SMALL), "AutoModel", 1).save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "ir").mkdir()
    assert conversion.convert(tmp_path / "checkpoint", tmp_path / "ir", task="feature-extraction") == "openvino"
    assert sorted(file.name for file in (tmp_path / "ir").iterdir()) == [
        "config.json",
        "openvino_model.bin",
        "openvino_model.xml",
    ]


def test_an_ir_that_computes_something_else_is_refused(tmp_path):
    """The check behind all of this: one weight of the IR is another one."""
    model = stand_in(config_of("ernie", **SMALL), CLASSIFIER, 1)
    model.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "ir").mkdir()
    conversion.convert(tmp_path / "checkpoint", tmp_path / "ir", task="text-classification")
    xml = Path(tmp_path / "ir" / "openvino_model.xml")
    conversion.check_outputs(model, xml)
    with torch.no_grad():
        model.classifier.bias += 1
    with pytest.raises(ExportError, match="with inputs of 1x40 it computes something else: logits is off by"):
        conversion.check_outputs(model, xml)


def test_differences_are_taken_where_there_are_numbers():
    theirs = torch.tensor([2.0, -torch.inf, 1.0])
    assert largest_difference(torch.tensor([2.5, -torch.inf, 1.0]), theirs) == 0.25
    assert largest_difference(torch.tensor([2.0, -torch.inf, torch.nan]), theirs) == torch.inf
    assert largest_difference(torch.zeros(2), torch.zeros(2)) == 0.0


def test_a_stand_in_is_small_and_of_each_kind_of_layer():
    values = {**SMALL, "num_hidden_layers": 9, "vocab_size": 5000, "global_attn_every_n_layers": 3}
    ids = {"bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 2, "eos_token_id": 300}
    small = stand_in(config_of("modernbert", **values | ids), CLASSIFIER, 1).config
    assert (small.num_hidden_layers, small.vocab_size) == (2, 400)
    assert set(small.layer_types) == {"full_attention", "sliding_attention"}


@pytest.mark.slow
def test_what_torch_cannot_trace_for_onnx_is_found_on_a_small_model(capfd):
    need("onnx", "onnxscript")
    found = onnx_problem(config_of("funnel", **FUNNEL), CLASSIFIER)
    assert found is not None and found.startswith("torch cannot trace it for ONNX: ") and "\n" not in found
    assert "def forward" not in capfd.readouterr().err


@pytest.mark.slow
def test_images_of_any_size_are_traced_for_onnx():
    """ResNet's configuration has no image_size."""
    need("onnx", "onnxscript")
    values = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": 2}
    assert onnx_problem(config_of("resnet", **values), "AutoModelForImageClassification") is None
