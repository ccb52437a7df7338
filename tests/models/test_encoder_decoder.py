"""Models with a decoder beside their encoder: T5's encoder embeds texts, the rest is refused in a line."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import transformers
from exported import load_ir

import optkit
from optkit import models
from optkit.errors import OptkitError, PlanError
from optkit.models import Head
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


def test_a_bart_is_not_quantized(tiny_checkpoint, tmp_path):
    folder = tmp_path / "bart"
    shutil.copytree(tiny_checkpoint, folder, ignore=shutil.ignore_patterns("model*", "config.json"))
    config = transformers.BartConfig(vocab_size=200, num_labels=2, **BART)
    for name in ("BartForSequenceClassification", "BartModel"):
        getattr(transformers, name)(config).save_pretrained(folder)
        with pytest.raises(OptkitError, match=f"{name} has a decoder beside its encoder"):
            optkit.quantize(folder, data=["the soup was fine"], output=tmp_path / "ir")
