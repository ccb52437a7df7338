"""Models with a decoder beside their encoder: the encoders of T5, BART and their kin embed texts, the rest is refused in
a line.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import transformers
from exported import load_ir
from safetensors.torch import load_file, save_file

import optkit
from optkit import models
from optkit.errors import OptkitError, PlanError
from optkit.models import Head
from optkit.models.encoder_decoder import _ENCODERS
from optkit.pruning import load_compact
from optkit.recipe.schema import ModelSpec

T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
BART = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_checkpoint):
    """A T5 with encoder and decoder, and the tokenizer of ``tiny_checkpoint``."""
    folder = tmp_path_factory.mktemp("t5") / "whole"
    shutil.copytree(tiny_checkpoint, folder, ignore=shutil.ignore_patterns("model*", "config.json"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.T5Config(vocab_size=200, pad_token_id=0, decoder_start_token_id=0, **T5)
        transformers.T5Model(config).save_pretrained(folder)
    return folder


def test_the_encoder_of_a_whole_t5_is_loaded_and_saved_alone(whole, tmp_path):
    model = models.load_model(whole, Head("AutoModel"), seed=0)
    ids = torch.arange(5, 15).reshape(2, 5)
    reference = transformers.T5Model.from_pretrained(whole).encoder
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).last_hidden_state, reference(input_ids=ids).last_hidden_state)
    assert not any("decoder" in name for name, _ in model.named_parameters())
    assert models.kept_head(whole, Head("AutoModel")) is not None
    model.save_pretrained(tmp_path)
    again = models.load_model(tmp_path, Head("AutoModel"), seed=0)
    assert type(again).__name__ == "T5EncoderModel"
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def _whole(kind, folder, tokenizer, class_name=None):
    """A model of ``kind`` with encoder and decoder and its tokenizer; what training changes is by chance, biases too."""
    shutil.copytree(tokenizer, folder, ignore=shutil.ignore_patterns("model*", "config.json"))
    config = transformers.AutoConfig.for_model(kind, vocab_size=200, pad_token_id=0, **BART)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = getattr(transformers, class_name or "AutoModel").from_config(config).eval()
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:  # sines, which are not saved
                parameter.add_(0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", sorted(_ENCODERS))
def test_an_encoder_is_taken_out_of_a_whole_model_and_saved_alone(kind, tiny_checkpoint, tmp_path):
    reference = _whole(kind, tmp_path / "whole", tiny_checkpoint, "AutoModelForSeq2SeqLM").get_encoder()
    model = models.load_model(tmp_path / "whole", Head("AutoModel"), seed=0)
    assert type(model).__name__ == _ENCODERS[kind]
    ids = torch.arange(5, 15).reshape(2, 5)
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).last_hidden_state, reference(input_ids=ids).last_hidden_state)
    assert models.kept_head(tmp_path / "whole", Head("AutoModel")) is not None
    assert not any(
        "decoder" in name for name, _ in models.meta_model(tmp_path / "whole", Head("AutoModel")).named_modules()
    )
    model.save_pretrained(tmp_path / "alone")
    again, same = models.load_model(tmp_path / "alone", Head("AutoModel"), seed=0), load_compact(tmp_path / "alone")
    for other in (again, same):
        assert type(other) is type(model)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_an_encoder_without_all_its_weights_is_refused(tiny_checkpoint, tmp_path):
    _whole("bart", tmp_path / "whole", tiny_checkpoint)
    file = tmp_path / "whole" / "model.safetensors"
    weights = {name: weight.clone() for name, weight in load_file(file).items()}
    for name in ("decoder.layers.0.fc1.weight", "encoder.layers.0.fc1.weight"):
        del weights[name]
        save_file(weights, file, metadata={"format": "pt"})
        if name.startswith("encoder"):
            with pytest.raises(OptkitError, match=r"1 weights of the bart encoder are missing, first encoder\.layers"):
                models.load_model(tmp_path / "whole", Head("AutoModel"), seed=0)
        else:  # which nobody asks for
            models.load_model(tmp_path / "whole", Head("AutoModel"), seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("alone", [False, True])
def test_a_bart_is_quantized_for_embeddings(tiny_checkpoint, tmp_path, alone):
    encoder = _whole("bart", tmp_path / "whole", tiny_checkpoint).get_encoder()
    if alone:
        encoder.save_pretrained(tmp_path / "whole")
    texts = [f"the soup of day {i} was fine" for i in range(8)]
    result = optkit.quantize(tmp_path / "whole", data=texts, output=tmp_path / "ir")
    assert result.ov_class == "OVModelForFeatureExtraction" and len(result.layers) == 6

    inputs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ir")(texts[:2], return_tensors="pt")
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    found = load_ir(tmp_path / "ir")(**inputs).last_hidden_state.numpy()
    with torch.no_grad():
        expected = encoder(**inputs).last_hidden_state.numpy()
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("alone", [False, True])
def test_a_t5_is_quantized_for_embeddings(whole, tmp_path, alone):
    folder = shutil.copytree(whole, tmp_path / "model")
    if alone:
        transformers.T5EncoderModel.from_pretrained(whole).save_pretrained(folder)
    texts = [f"the soup of day {i} was fine" for i in range(8)]
    result = optkit.quantize(folder, data=texts, output=tmp_path / "ir")
    assert result.ov_class == "OVModelForFeatureExtraction" and len(result.layers) == 12

    inputs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ir")(texts[:2], return_tensors="pt")
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    found = load_ir(tmp_path / "ir")(**inputs).last_hidden_state.numpy()
    with torch.no_grad():
        expected = transformers.T5EncoderModel.from_pretrained(whole)(**inputs).last_hidden_state.numpy()
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("config", "head", "said"),
    [
        ({"model_type": "bart", **BART}, "SequenceClassification", "model.config: BartForSequenceClassification has a"),
        ({"model_type": "t5", **T5}, "SequenceClassification", "of t5 feature-extraction takes the encoder alone"),
        ({"model_type": "bart", **BART}, "QuestionAnswering", "take one without, such as bert or roberta"),
    ],
)
def test_what_needs_its_decoder_is_refused(config, head, said):
    spec = ModelSpec(config=config, tokenizer={"train": "wordpiece", "vocab_size": 100})
    labels = None if head == "QuestionAnswering" else ["a", "b"]
    with pytest.raises(PlanError) as raised:
        models.meta_model(spec, Head(f"AutoModelFor{head}", labels))
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_bart_that_classifies_is_not_quantized(tiny_checkpoint, tmp_path):
    _whole("bart", tmp_path / "bart", tiny_checkpoint, "AutoModelForSequenceClassification")
    with pytest.raises(OptkitError, match="BartForSequenceClassification has a decoder beside its encoder"):
        optkit.quantize(tmp_path / "bart", data=["the soup was fine"], output=tmp_path / "ir")
