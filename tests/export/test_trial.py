"""Architectures without an export configuration of their own: converted as another type, or refused on a small model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from architectures import SIZES
from capabilities import need

from optkit.adapters import export_types, optimum
from optkit.errors import ExportError
from optkit.export.trial import onnx_problem, openvino_problem, stand_in
from optkit.quantization.config import Quantization

SMALL = SIZES | {"vocab_size": 60, "max_position_embeddings": 40, "pad_token_id": 0}
XLM = {"vocab_size": 60, "emb_dim": 32, "n_layers": 2, "n_heads": 2, "pad_token_id": 0}
LONGFORMER = {**SMALL, "attention_window": 8}
CLASSIFIER = "AutoModelForSequenceClassification"


def config_of(kind: str, **values):
    return transformers.AutoConfig.for_model(kind, **values)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("ernie", SMALL),
        ("megatron-bert", SMALL),
        ("roberta-prelayernorm", {**SMALL, "type_vocab_size": 1}),
        ("data2vec-text", {**SMALL, "type_vocab_size": 1}),
        ("nomic_bert", SMALL),
    ],
)
def test_a_type_without_a_configuration_computes_the_same_as_an_ir(tmp_path, kind, values):
    assert export_types.own_problem(kind, "text-classification") is not None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, CLASSIFIER).from_config(config_of(kind, **values)).eval()
    model.save_pretrained(tmp_path / "checkpoint")
    ids = torch.arange(5, 35)[None].repeat(2, 1)
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=mask).logits.numpy()
    (tmp_path / "fp32").mkdir()
    optimum.convert(tmp_path / "checkpoint", tmp_path / "fp32", task="text-classification")
    exact = optimum.load(tmp_path / "fp32", ov_config={"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(exact(input_ids=ids, attention_mask=mask).logits, wanted, rtol=0, atol=1e-5)


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
    optimum.convert(tmp_path / "checkpoint", tmp_path / "ir", task="text-classification")
    exact = optimum.load(tmp_path / "ir", ov_config={"INFERENCE_PRECISION_HINT": "f32"})
    inputs = tokenizer(["a soup was fine", "a song"], padding=True, return_tensors="pt")
    assert ("token_type_ids" in inputs) == segments
    with torch.no_grad():
        wanted = model(**inputs).logits.numpy()
    np.testing.assert_allclose(exact(**inputs).logits, wanted, rtol=0, atol=1e-5)


def test_images_of_a_type_without_a_configuration():
    values = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config, task = config_of("dinov2", **values), "image-classification"
    assert export_types.own_problem("dinov2", task) == "its export was removed there"
    options = {"tokenizer": None, "quantization": Quantization()}
    assert openvino_problem(config, "AutoModelForImageClassification", task, **options) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        ("longformer", LONGFORMER, "its export was removed there, and as another type it cannot be: "),
        ("fnet", {**SMALL, "intermediate_size": 32}, "it has no export there, and as another type it cannot be: "),
        (
            "nystromformer",
            {**SMALL, "num_landmarks": 8},
            "its export there is for transformers up to 4.50.3, and as another type it can",
        ),
        ("big_bird", SMALL, "set attention_type to original_full"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(tmp_path, kind, values, reason):
    config = config_of(kind, **values)
    options = {"tokenizer": None, "quantization": None}
    found = openvino_problem(config, CLASSIFIER, "text-classification", **options)
    assert found.startswith(f"model: {kind} cannot be exported to OpenVINO for text-classification by optimum-intel ")
    assert reason in found and "\n" not in found and "such as bert, distilbert" in found
    assert found.endswith("stop before it with --stop-after train")
    # What is refused is what the export would raise, hours later.
    stand_in(config, CLASSIFIER, 1).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(ExportError, match="optimum-intel cannot convert it for text-classification"):
        optimum.convert(tmp_path / "checkpoint", tmp_path / "ir", task="text-classification")


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


def test_a_configuration_of_its_own_that_fails_is_found_by_trying():
    """I-BERT's own is for a model whose output no feature-extraction asks for."""
    assert export_types.own_problem("ibert", "feature-extraction") is None
    options = {"tokenizer": None, "quantization": None}
    found = openvino_problem(config_of("ibert", **SMALL), "AutoModel", "feature-extraction", **options)
    assert found is not None and found.startswith("model: ibert cannot be exported to OpenVINO for feature-extraction")
    assert openvino_problem(config_of("ibert", **SMALL), CLASSIFIER, "text-classification", **options) is None


def test_an_ir_that_computes_something_else_is_refused(tmp_path):
    """The check behind all of this: one weight of the IR is another one."""
    model = stand_in(config_of("ernie", **SMALL), CLASSIFIER, 1)
    model.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "ir").mkdir()
    optimum.convert(tmp_path / "checkpoint", tmp_path / "ir", task="text-classification")
    xml = Path(tmp_path / "ir" / "openvino_model.xml")
    export_types.check_outputs(model, xml)
    with torch.no_grad():
        model.classifier.bias += 1
    with pytest.raises(ExportError, match="with inputs of 1x40 it computes something else: logits is off by"):
        export_types.check_outputs(model, xml)


def test_a_stand_in_is_small_and_of_each_kind_of_layer():
    values = {**SMALL, "num_hidden_layers": 9, "vocab_size": 5000, "global_attn_every_n_layers": 3}
    ids = {"bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 2, "eos_token_id": 300}
    small = stand_in(config_of("modernbert", **values | ids), CLASSIFIER, 1).config
    assert (small.num_hidden_layers, small.vocab_size) == (2, 400)
    assert set(small.layer_types) == {"full_attention", "sliding_attention"}


@pytest.mark.slow
def test_what_torch_cannot_trace_for_onnx_is_found_on_a_small_model(capfd):
    need("onnx", "onnxscript")
    sizes = {"vocab_size": 60, "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 16, "block_sizes": [1, 1]}
    found = onnx_problem(config_of("funnel", **sizes), CLASSIFIER)
    assert found is not None and found.startswith("torch cannot trace it for ONNX: ") and "\n" not in found
    assert "def forward" not in capfd.readouterr().err
