"""Which weights are the encoder's, by names alone: models, checkpoints and graphs have to agree."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import transformers
from architectures import SIZES
from torch import nn

from optkit.counting.encoder import encoder_of, outside_encoder
from optkit.counting.sparsity import sparsity
from optkit.pipeline.validate import make_plan
from optkit.pruning import Rule
from optkit.pruning.targets import coverage, encoder_layers, linear_layers, resolve_sites, resolve_targets
from optkit.recipe import load_recipe

SMALL = {"vocab_size": 50, "pad_token_id": 0}
BERT = SMALL | SIZES
FLAUBERT = SMALL | {"emb_dim": 32, "n_layers": 2, "n_heads": 2}
BART = SMALL | {"d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
FUNNEL = SMALL | {"block_sizes": [1, 2, 1], "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 64}
MOBILEBERT = BERT | {"intermediate_size": 32}
MOBILEBERT |= {"true_hidden_size": 16, "intra_bottleneck_size": 16, "embedding_size": 16}
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1, 5, 1], "num_heads": [1, 2, 4, 8]}
SEGFORMER = {"depths": [1, 2, 3, 1], "hidden_sizes": [8, 16, 32, 32], "num_attention_heads": [1, 1, 2, 2]}
CONVNEXT = {"hidden_sizes": [8, 16, 32, 32], "depths": [1, 1, 3, 1]}
HIERA = {"embed_dim": 8, "depths": [1, 2, 3, 1], "num_heads": [1, 1, 2, 2], "image_size": [64, 64]}

#: The class of a model, its configuration, and the linear layers that are not its encoder's.
MODELS = {
    "bert": ("BertForSequenceClassification", BERT, ["bert.pooler.dense", "classifier"]),
    "flaubert": ("FlaubertForSequenceClassification", FLAUBERT, ["sequence_summary.summary"]),
    "xlm": ("XLMForSequenceClassification", FLAUBERT, ["sequence_summary.summary"]),
    "mobilebert": (
        "MobileBertForSequenceClassification",
        MOBILEBERT,
        ["mobilebert.embeddings.embedding_transformation", "mobilebert.pooler.dense", "classifier"],
    ),
    "funnel": (
        "FunnelForSequenceClassification",
        FUNNEL,
        ["classifier.linear_hidden", "classifier.linear_out"],
    ),
    "canine": ("CanineForSequenceClassification", SIZES, ["canine.pooler.dense", "classifier"]),
    "swin": ("SwinForImageClassification", SWIN | {"window_size": 2}, ["classifier"]),
    "segformer": ("SegformerForImageClassification", SEGFORMER, ["classifier"]),
    "convnext": ("ConvNextForImageClassification", CONVNEXT, ["classifier"]),
    "hiera": ("HieraForImageClassification", HIERA, ["classifier"]),
}


def model_of(name: str):
    cls, config, _ = MODELS[name]
    model_class = getattr(transformers, cls)
    with torch.device("meta"):
        return model_class(model_class.config_class(**config))


@pytest.mark.parametrize("name", MODELS)
def test_encoder_linear_is_every_layer_of_the_encoder(name):
    model, beside = model_of(name), MODELS[name][2]
    layers = linear_layers(model)
    assert list(resolve_targets(model, Rule())) == [layer for layer in layers if layer not in beside]
    assert set(beside) <= set(layers)


@pytest.mark.parametrize("name", ["flaubert", "swin", "canine"])
def test_checkpoints_count_the_layers_that_are_pruned(name, tmp_path):
    cls, config, _ = MODELS[name]
    model_class = getattr(transformers, cls)
    torch.manual_seed(0)
    model = model_class(model_class.config_class(**config))
    for layer in resolve_targets(model, Rule()).values():
        layer.weight.data.zero_()
    model.save_pretrained(tmp_path)
    found = sparsity(tmp_path).denominators["encoder_linear"]
    sizes = [layer.weight.numel() for layer in resolve_targets(model, Rule()).values()]
    assert (found["zeros"], found["size"]) == (sum(sizes), sum(sizes))


def test_graphs_count_the_layers_that_checkpoints_count(tmp_path, save_ir):
    layers = linear_layers(model_of("flaubert"))
    weights = {name: np.ones(tuple(layer.weight.shape), np.float32) for name, layer in layers.items()}
    found = sparsity(save_ir(tmp_path, weights)).denominators
    inside = [name for name in layers if name != "sequence_summary.summary"]
    assert found["encoder_linear"]["size"] == sum(weights[name].size for name in inside)
    assert found["linear"]["size"] == sum(weight.size for weight in weights.values())


def test_the_decoder_beside_an_encoder_is_left_out_and_is_all_there_is_of_a_decoder():
    with torch.device("meta"):
        both = transformers.BartModel(transformers.BartConfig(**BART))
        alone = transformers.BartForCausalLM(transformers.BartConfig(**BART))
    assert {name.partition(".layers.")[0] for name in encoder_layers(both)} == {"encoder"}
    assert {name.partition(".layers.")[0] for name in encoder_layers(alone)} == {"model.decoder"}


@pytest.mark.parametrize(
    ("names", "inside"),
    [
        (["a.layer.0.q", "a.layer.0.ffn.0.up", "pooler", "head.0.proj"], ["a.layer.0.q", "a.layer.0.ffn.0.up"]),
        (["enc.blocks.0.fc.weight", "enc.stages.1.fc.weight"], ["enc.blocks.0.fc.weight", "enc.stages.1.fc.weight"]),
        (["enc.layers.0.fc.weight", "body.0.weight", "body.2.weight"], ["enc.layers.0.fc.weight"]),
        (["layers.0.weight", "layers.1.weight"], ["layers.0.weight", "layers.1.weight"]),
        (["/bert/encoder/layer.0/query/MatMul", "/classifier/MatMul"], ["/bert/encoder/layer.0/query/MatMul"]),
        (["enc.layer.0.q_head", "decode_head.linear_c.0.proj", "lm_head.layers.0.fc"], ["enc.layer.0.q_head"]),
        (["0.weight", "2.weight", "MatMul_12", "layer2.fc"], []),
    ],
)
def test_names_tell_the_encoder(names, inside):
    encoder = encoder_of(names)
    assert [name for name in names if name in encoder] == inside and bool(encoder) == bool(inside)


@pytest.mark.parametrize("kind", ["DebertaV2", "Deberta", "Swinv2"])
def test_projections_of_positions_stay_outside_and_are_named(kind):
    deberta = BERT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": False}
    config = SWIN | {"window_size": 2} if kind == "Swinv2" else deberta
    task = "ImageClassification" if kind == "Swinv2" else "SequenceClassification"
    with torch.device("meta"):
        model = getattr(transformers, f"{kind}For{task}")(getattr(transformers, f"{kind}Config")(**config))
    positions = [name for name in linear_layers(model) if "pos_" in name or "position_bias" in name]
    assert positions and not encoder_layers(model) & set(positions)
    assert any(name in coverage(model)[0] for name in positions)


def test_heads_take_the_projections_of_positions_with_them():
    from architectures import small_model

    model = small_model("deberta-apart")
    sites, problems = resolve_sites(model, Rule(structure="head"))
    assert not problems and "deberta.encoder.layer.0.attention.self.pos_key_proj" in sites[0].layers


def test_within_a_wrapper_only_the_wrapped_model_has_an_encoder():
    with torch.device("meta"):
        bert = transformers.BertModel(transformers.BertConfig(**BERT))
        wrapper = nn.Sequential(nn.ModuleDict({"auto_model": bert}), nn.ModuleDict({"linear": nn.Linear(32, 8)}))
    assert encoder_layers(wrapper) == {f"0.auto_model.{name}" for name in encoder_layers(bert)}
    assert "0.auto_model.pooler.dense" in linear_layers(wrapper)


def test_what_stays_outside_is_said_with_its_share():
    sizes = {"enc.layer.0.fc": 900, "pooler": 60, "a": 20, "b": 15, "c": 5}
    said = "encoder_linear is 90.0% of the linear weights; outside: pooler (6.0%), a (2.0%), b (1.5%) and 1 more"
    assert outside_encoder(sizes) == said
    assert outside_encoder({"enc.layer.0.fc": 900}) is None
    lines = coverage(model_of("mobilebert"))
    assert len(lines) == 1 and "mobilebert.embeddings.embedding_transformation" in lines[0]
    with torch.device("meta"):
        config = transformers.SqueezeBertConfig(**BERT, embedding_size=32)
        convolved = transformers.SqueezeBertForSequenceClassification(config)
    assert coverage(convolved)[-1].startswith("linear layers hold 16% of the weights beside embeddings")


def test_plans_and_reports_name_what_stays_outside(files_recipe):
    plan = make_plan(load_recipe(files_recipe))
    assert plan.notes == [
        "encoder_linear is 93.8% of the linear weights; outside: bert.pooler.dense (5.9%), classifier (0.4%)"
    ]
    assert plan.notes[0] in shown(plan)
    named = load_recipe(files_recipe, ["prune.0.targets='*query'"])
    assert make_plan(named).notes == []


def shown(plan) -> str:
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(plan.render())
    return console.export_text()
