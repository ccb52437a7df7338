"""Checkpoints that other tools saved, with masks or norms apart and names changed, are read as their models compute."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils import parametrizations, parametrize, prune

import optkit
from optkit.checkpoints.plain import plain_folder
from optkit.errors import OptkitError
from optkit.interop.checkpoint import check_checkpoint
from optkit.models import Head, load_model
from optkit.pruning.targets import linear_layers

HEAD = Head("AutoModelForSequenceClassification", ("0", "1"))


def stored(folder, model, prefix: str = "", middle: str = ""):
    """Replaces the weights in ``folder`` by those of ``model``, with words before and within their names."""
    names = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(
        {f"{prefix}{name.replace('encoder.', f'encoder.{middle}', 1)}": tensor for name, tensor in names.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    return folder


@pytest.fixture
def copy(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "copy")


@pytest.fixture
def model(tiny_checkpoint):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint).eval()
    for number, layer in enumerate(encoder(model)):  # biases begin as zeros
        layer.bias.data = torch.linspace(-1, 1, len(layer.bias)) + number
    return model


def encoder(model):
    return [layer for name, layer in linear_layers(model).items() if ".encoder." in name]


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(5, 25)[None]).logits


def masked(model):
    for layer in encoder(model):
        prune.l1_unstructured(layer, "weight", 0.75)
        prune.random_unstructured(layer, "bias", 0.5)


def normed(model):
    for layer in encoder(model):
        parametrizations.weight_norm(layer)
        layer.parametrizations.weight.original0.data *= 1.5


def normed_by_hooks(model):
    for layer in encoder(model):
        with pytest.warns(FutureWarning, match="weight_norm` is deprecated"):
            torch.nn.utils.weight_norm(layer)
        layer.weight_g.data *= 1.5


@pytest.mark.parametrize("change", [masked, normed, normed_by_hooks, lambda model: None])
@pytest.mark.parametrize(
    ("prefix", "middle"),
    [("", ""), ("module.", ""), ("_orig_mod.", ""), ("model.", ""), ("module._orig_mod.model.", "_orig_mod.")],
)
def test_what_is_read_is_what_the_model_computes_with(copy, model, change, prefix, middle):
    change(model)
    wanted = logits(model)
    stored(copy, model, prefix, middle)
    files = {file.name: file.read_bytes() for file in copy.iterdir()}
    loaded = load_model(copy, HEAD, seed=0)
    torch.testing.assert_close(logits(loaded), wanted, rtol=0, atol=1e-5)
    report = optkit.sparsity(copy)
    assert len(report.layers) == 14 and all(layer.name.startswith(("bert.", "classifier.")) for layer in report.layers)
    if change is masked:
        assert report.denominators["encoder_linear"]["sparsity"] == pytest.approx(0.75)
        assert (dict(loaded.named_parameters())["bert.encoder.layer.0.output.dense.bias"] == 0).sum() == 16
    assert (report.path, plain_folder(copy) == copy) == (str(copy), change.__name__ == "<lambda>" and not prefix)
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == files


def test_masks_in_pickles_of_torch(copy, model):
    masked(model)
    wanted = logits(model)
    (copy / "model.safetensors").unlink()
    torch.save(model.state_dict(), copy / "pytorch_model.bin")
    torch.testing.assert_close(logits(load_model(copy, HEAD, seed=0)), wanted, rtol=0, atol=1e-6)


def test_a_plain_checkpoint_is_left_where_it_is(copy, tmp_path):
    assert plain_folder(copy) == copy
    from transformers import BartConfig, BartForSequenceClassification

    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = BartConfig(vocab_size=40, d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, **sizes)
    BartForSequenceClassification(config).save_pretrained(tmp_path / "bart")  # its own names begin with model.
    assert plain_folder(tmp_path / "bart") == tmp_path / "bart"


class Double(torch.nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrized(model):
    parametrize.register_parametrization(encoder(model)[0], "weight", Double())


def spectral(model):
    torch.nn.utils.spectral_norm(encoder(model)[0])


@pytest.mark.parametrize(
    ("change", "call"),
    [
        (parametrized, "remove_parametrizations(module, 'weight')"),
        (spectral, "remove_spectral_norm(module, 'weight')"),
    ],
)
def test_what_only_code_can_undo_is_refused_with_the_call_that_does(copy, model, change, call):
    change(model)
    stored(copy, model)
    for read in (optkit.sparsity, plain_folder, lambda folder: load_model(folder, HEAD, seed=0)):
        with pytest.raises(OptkitError) as caught:
            read(copy)
        assert call in str(caught.value) and "\n" not in str(caught.value)


def test_weights_of_no_layer_are_no_empty_table(copy, optkit_cli):
    weights = load_file(copy / "model.safetensors")
    save_file({f"other{i}": tensor for i, tensor in enumerate(weights.values())}, copy / "model.safetensors")
    code, out, err = optkit_cli("inspect", copy)
    assert (code, out) == (1, "") and "none of its weights belongs to a layer" in err and err.count("\n") == 1
    assert json.loads((copy / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]


def test_what_is_exported_has_the_masks_in_it(copy, model, tmp_path):
    from optkit.export.openvino import export_openvino

    masked(model)
    stored(copy, model, "module.")
    layers = export_openvino(copy, tmp_path / "ir", export_task="text-classification").layers
    shares = {layer.parameter: layer.sparsity for layer in layers if ".encoder." in layer.parameter}
    assert len(shares) == 12 and set(shares.values()) == {0.75}


def bare(folder):
    """Leaves the word before the body's names out of the file."""
    weights = load_file(folder / "model.safetensors")
    named = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})


def of_a_body(folder):
    """Has config.json name the body alone, and the file keep the word before its names."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))


@pytest.mark.parametrize(("change", "task"), [(bare, "text-classification"), (of_a_body, "feature-extraction")])
def test_zeros_are_found_with_and_without_the_word_before_the_body(copy, model, tmp_path, change, task):
    from optkit.export.openvino import export_openvino

    masked(model)
    for layer in encoder(model):
        prune.remove(layer, "weight")
        prune.remove(layer, "bias")
    stored(copy, model)
    change(copy)
    report = optkit.sparsity(copy)
    assert report.denominators["encoder_linear"]["sparsity"] == pytest.approx(0.75)
    assert len([layer for layer in report.layers if layer.structure == "element"]) == 12
    layers = export_openvino(copy, tmp_path / "ir", export_task=task).layers
    assert [layer.sparsity for layer in layers if "encoder." in layer.parameter] == [0.75] * 12


def test_messages_name_the_checkpoint_that_was_given(copy, model):
    masked(model)
    stored(copy, model)
    weights = load_file(copy / "model.safetensors")
    query = "bert.encoder.layer.0.attention.self.query.weight"
    save_file({name: w for name, w in weights.items() if name != f"{query}_mask"}, copy / "model.safetensors")
    for read in (
        lambda: load_model(copy, HEAD, seed=0),
        lambda: check_checkpoint(plain_folder(copy), "AutoModelForSequenceClassification"),
    ):
        with pytest.raises(OptkitError, match=query) as caught:
            read()
        assert str(caught.value).startswith(f"{copy}: ")
