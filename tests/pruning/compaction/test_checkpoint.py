"""Compacted checkpoints: plain ones, those of the loader, what transformers says of them, and damage."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from architectures import ARCHITECTURES, emptied, logits_of, small_model
from safetensors.torch import load_file, save_file

import optkit
from optkit.counting.sparsity import sparsity
from optkit.errors import PruningError
from optkit.pruning import compact, load_compact, save_compact
from optkit.pruning.callback import save_under_own_names


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_was_saved_is_loaded(name, tmp_path):
    model = emptied(name, [(0, 2), range(4)], [range(5, 20), range(48)])
    before = logits_of(model)
    assert not save_compact(model, compact(model), tmp_path)
    state = torch.get_rng_state()
    loaded = optkit.load_compact(tmp_path)
    assert torch.equal(torch.get_rng_state(), state) and not loaded.training
    assert type(loaded) is type(model) and torch.allclose(logits_of(loaded), before, rtol=0, atol=1e-5)
    assert loaded.config.id2label == model.config.id2label
    assert sum(p.numel() for p in loaded.parameters()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_as_many_neurons_everywhere_need_no_loader(name, tmp_path):
    model = emptied(name, neurons=[range(5, 20), range(15)])
    before = logits_of(model)
    assert save_compact(model, compact(model), tmp_path)
    auto_class = transformers.AutoModelForImageClassification
    if name != "vit":
        auto_class = transformers.AutoModelForSequenceClassification
    loaded, info = auto_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()) and torch.allclose(logits_of(loaded), before, rtol=0, atol=1e-5)
    assert torch.equal(logits_of(load_compact(tmp_path)), logits_of(loaded))
    assert getattr(loaded.config, "hidden_dim" if name == "distilbert" else "intermediate_size") == 33


def test_fewer_layers_need_no_loader(tmp_path):
    lost = {"heads": [(), range(4), (), ()], "neurons": [(), range(48), (), ()]}
    for name in ("vit", "modernbert-biased"):
        model = emptied(name, **lost, num_hidden_layers=4)
        before = logits_of(model)
        assert save_compact(model, compact(model), tmp_path / name)
        loaded = type(model).from_pretrained(tmp_path / name)
        assert loaded.config.num_hidden_layers == 3 and torch.allclose(logits_of(loaded), before, rtol=0, atol=1e-5)


def test_tied_weights_are_stored_once_and_tied_again(tmp_path):
    config = transformers.BertConfig(**ARCHITECTURES["bert"][1])
    model = transformers.BertForMaskedLM(config).eval()
    model.bert.encoder.layer[0].attention.output.dense.weight.data[:, 8:16] = 0
    before = logits_of(model)
    save_compact(model, compact(model), tmp_path)
    assert "cls.predictions.decoder.weight" not in load_file(tmp_path / "compact.safetensors")
    loaded = load_compact(tmp_path)
    assert loaded.cls.predictions.decoder.weight is loaded.bert.embeddings.word_embeddings.weight
    assert torch.allclose(logits_of(loaded), before, rtol=0, atol=1e-5)


@pytest.fixture
def saved(tmp_path):
    model = emptied("bert", [(0,), range(4)])
    save_compact(model, compact(model), tmp_path)
    return tmp_path


def test_transformers_alone_refuses_it_and_says_what_to_do(saved, caplog):
    """All heads of a layer gone and nothing else would be filled with random weights, and a warning."""
    hint = "compacted bert, load it with optkit.load_compact"
    with pytest.raises(ValueError, match=f"has model type `{hint}` but Transformers does not recognize"):
        transformers.AutoModelForSequenceClassification.from_pretrained(saved)
    with pytest.raises(ValueError, match=hint):
        transformers.pipeline("text-classification", str(saved))
    with pytest.raises(OSError, match="no file named model.safetensors"):
        transformers.BertForSequenceClassification.from_pretrained(saved)


def test_sparsity_is_counted_over_the_original_weights(tmp_path):
    for name, share in (("bert", 0.0), ("albert", 0.0), ("vit", 0.5)):
        model = emptied(name, [(0, 2), range(4)], [range(5, 20), range(48)])
        rng = np.random.default_rng(0)
        for module in model.modules() if share else ():
            if isinstance(module, torch.nn.Linear):
                module.weight.data *= torch.from_numpy(rng.random(tuple(module.weight.shape)) >= share)
        save_under_own_names(model)
        model.save_pretrained(tmp_path / name / "pruned")
        save_compact(model, compact(model), tmp_path / name / "compact")
        before, after = (sparsity(tmp_path / name / folder) for folder in ("pruned", "compact"))
        for denominator in ("encoder_linear", "linear", "matmul_conv"):
            assert after.denominators[denominator] == before.denominators[denominator]
        assert before.denominators["encoder_linear"]["zeros"] > 0.3 * before.denominators["encoder_linear"]["size"]
        former = {layer.name: layer for layer in before.layers}
        for layer in after.layers:
            assert layer.original_sparsity == former[layer.name].sparsity
            assert (layer.original_shape or layer.shape) == former[layer.name].shape
        assert any("removed" in note for note in after.notes) == (name != "albert")


def test_damage_is_one_clear_line(saved):
    config = json.loads((saved / "config.json").read_text())

    def message(**changes):
        changed = config | changes
        (saved / "config.json").write_text(json.dumps(changed))
        with pytest.raises(PruningError) as caught:
            load_compact(saved)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
        return str(caught.value)

    said = config["optkit_compact"]
    first, second = said["layers"]
    assert "format 2 is newer than this optkit reads: upgrade" in message(optkit_compact=said | {"format": 2})
    assert "optkit_compact is not what compaction writes" in message(optkit_compact=[])
    assert "has no architecture Unheard" in message(architectures=["Unheard"])
    assert "has no architecture Trainer" in message(architectures=["Trainer"])
    assert "no model type 'gpt9'" in message(optkit_compact=said | {"model_type": "gpt9"})
    for layers in ({"nowhere": said["layers"][first]}, {first: {"heads": [9], "neurons": 48}}):
        assert "no layer of this model that can keep heads" in message(optkit_compact=said | {"layers": layers})
    for layers in ([], {first: 3}, {first: {"heads": "x", "neurons": 1}}):
        assert "layers of config.json is damaged" in message(optkit_compact=said | {"layers": layers})
    other = said["layers"] | {first: {"heads": [0], "neurons": 48}}
    assert "layer.0.attention.output.dense.weight is not as config.json says" in message(
        optkit_compact=said | {"layers": other}
    )
    weights = load_file(saved / "compact.safetensors")
    del weights["classifier.bias"]
    save_file(weights, saved / "compact.safetensors")
    assert "classifier.bias is not as config.json says" in message()
    (saved / "compact.safetensors").write_bytes(b"half of a file")
    assert "compact.safetensors: cannot be read" in message()
    (saved / "compact.safetensors").unlink()
    assert "compact.safetensors: cannot be read" in message()
    (saved / "config.json").write_text("{")
    for folder in (saved, saved / "gone"):
        with pytest.raises(PruningError, match="not JSON" if folder == saved else "config.json: not found: give the"):
            load_compact(folder)


def without(folder, *names, **shapes):
    weights = {name: value for name, value in load_file(folder / "model.safetensors").items() if name not in names}
    save_file(weights | shapes, folder / "model.safetensors", metadata={"format": "pt"})


def test_weights_that_a_plain_checkpoint_lacks_are_not_drawn_by_chance(tmp_path):
    missing = "bert.encoder.layer.1.output.dense.weight", "classifier.weight"
    small_model("bert").save_pretrained(tmp_path)
    without(tmp_path, *missing)
    with pytest.raises(PruningError, match=f"{missing[0]} and 1 more is not as config.json says: copy the whole"):
        load_compact(tmp_path)
    small_model("bert").save_pretrained(tmp_path)
    without(tmp_path, **{"classifier.bias": torch.zeros(7)})
    with pytest.raises(PruningError, match="classifier.bias is not as config.json says: copy the whole"):
        load_compact(tmp_path)


def test_a_pooler_that_was_not_saved_is_none(tmp_path):
    """As sentence-transformers' models are saved, which take means."""
    whole = small_model("bert").bert.eval()
    whole.save_pretrained(tmp_path)
    without(tmp_path, "pooler.dense.weight", "pooler.dense.bias")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        loaded, wanted = load_compact(tmp_path)(ids), whole(ids)
    assert loaded.pooler_output is None and torch.equal(loaded.last_hidden_state, wanted.last_hidden_state)


@pytest.mark.parametrize("name", ["bert", "deberta"])
def test_a_pooler_that_a_head_reads_must_be_there(tmp_path, name):
    model = small_model(name)
    model.save_pretrained(tmp_path)
    poolers = [key for key in model.state_dict() if "pooler." in key]
    without(tmp_path, *poolers)
    with pytest.raises(PruningError, match=f"{poolers[0].replace('weight', 'bias')} and 1 more is not as config.json"):
        load_compact(tmp_path)


def test_half_a_pooler_is_none(tmp_path):
    small_model("bert").bert.save_pretrained(tmp_path)
    without(tmp_path, "pooler.dense.bias")
    with pytest.raises(PruningError, match="pooler.dense.bias is not as config.json says"):
        load_compact(tmp_path)
