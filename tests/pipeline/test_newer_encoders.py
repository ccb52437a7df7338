"""From a recipe to a baked IR: tiny models of newer shapes, one step of training each, as an embedder, a reranker, a
classifier of texts and one of images.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from architectures import SIZES
from capabilities import need
from recipe_files import write_recipe

import optkit
from optkit import runtime
from optkit.counting.sparsity import sparsity
from optkit.ir.emulation import emulate_f32
from optkit.ir.io import import_openvino, read_model
from optkit.models.wordpiece import train_wordpiece
from optkit.serving.folder import read_folder

pytestmark = pytest.mark.slow

RECIPE = """\
optkit: 1
name: newer
seed: 3
model: MODEL
task: TASK
train: {max_steps: 1, learning_rate: 1e-4, per_device_train_batch_size: 4, train_sampling_strategy: sequential}
prune: [{criterion: magnitude, structure: 4x4, scope: local, schedule: {shape: constant, to: 0.5, begin: 0, end: 0}}]
quantize: {calibration: {samples: 8}}
evaluate: {baseline: none}
"""
_TEXTS = {**SIZES, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_WINDOWS = {"local_attention": 8, "cls_token_id": 1, "sep_token_id": 2}
MODERNBERT = {"model_type": "modernbert", **_TEXTS, **_WINDOWS}
DEBERTA = {
    **{"model_type": "deberta-v2", **_TEXTS, "relative_attention": True, "position_buckets": 8},
    **{"pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm", "share_att_key": True},
    **{"position_biased_input": False, "type_vocab_size": 0},
}
T5 = {"model_type": "t5", "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "pad_token_id": 0}
BART = {
    **{"model_type": "bart", "d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2},
    **{"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2},
}
QWEN3 = {"model_type": "qwen3", **_TEXTS, "num_key_value_heads": 1, "head_dim": 16}
SWIN = {"model_type": "swin", "image_size": 24, "patch_size": 3, "embed_dim": 16, "depths": [2, 2], "num_heads": [1, 2]}
CLASSES = {"type": "text-classification", "dataset": {"generate": "topics"}, "text": "text", "label": "label"}
PAIRS = {"type": "feature-extraction", "dataset": {"generate": "similar"}, "text": ["sentence1", "sentence2"]}
RANKS = {"type": "text-ranking", "dataset": {"generate": "passages"}, "text": ["query", "passage"]}
SHAPES = {"type": "image-classification", "dataset": {"generate": "shapes"}, "image": "image", "label": "label"}
#: The model's configuration, and the task.
RUNS = {
    "modernbert": (MODERNBERT, CLASSES),
    "deberta": (DEBERTA, CLASSES),
    "embedder": (QWEN3, {**PAIRS, "label": "score", "pooling": "lasttoken"}),
    "embedder, T5's encoder": (T5, {**PAIRS, "label": "score"}),
    "embedder, BART's encoder": (BART, {**PAIRS, "label": "score"}),
    "reranker": (MODERNBERT, {**RANKS, "label": "relevance"}),
    "swin": ({**SWIN, "window_size": 4}, SHAPES),
}
F32 = {"INFERENCE_PRECISION_HINT": "f32"}


def checkpoint(folder: Path, config: dict) -> Path:
    """A model with random weights: a recipe's own config takes no keys that its class does not declare."""
    import transformers

    values = {name: value for name, value in config.items() if name != "model_type"} | {"vocab_size": 90}
    made = transformers.AutoConfig.for_model(config["model_type"], **values)
    transformers.AutoModel.from_config(made).save_pretrained(folder)
    words = "the soup song table garden river letter of day was fine lovely great sweet poor awful grim sour"
    train_wordpiece([words], 90, 64, token_types=False).save_pretrained(folder)
    return folder


def inputs_for(model) -> list[dict[str, np.ndarray]]:
    """Texts of different lengths, padded at their end and at their beginning; or images."""
    names = [min(port.get_names()) for port in model.inputs]
    rng = np.random.default_rng(0)
    if names == ["pixel_values"]:
        return [{"pixel_values": rng.normal(size=(3, 3, 24, 24)).astype(np.float32)}]
    places, ids = np.arange(21), rng.integers(5, 60, (3, 21))
    lengths = np.array([[21], [13], [4]])
    masks = places < lengths, places >= 21 - lengths
    feeds = [{"input_ids": np.where(mask, ids, 0), "attention_mask": mask.astype(np.int64)} for mask in masks]
    return [{**feed, "token_type_ids": np.zeros_like(ids)} for feed in feeds]


def outputs(compiled, feed: dict[str, np.ndarray]) -> np.ndarray:
    """The first output; of hidden states those of tokens that are no padding."""
    found = compiled([feed[min(port.get_names())] for port in compiled.inputs])[0]
    return found[feed["attention_mask"] > 0] if found.ndim == 3 else found


@pytest.mark.parametrize("name", RUNS)
def test_from_a_recipe_to_a_baked_ir(name, tmp_path):
    need("extension")
    config, task = RUNS[name]
    texts, model = "text" in task, {"config": config}
    task = {**task, "dataset": {**task["dataset"], "train": 32, "validation": 16}}
    if texts:
        task["max_length"] = 24
        model = {"name": str(checkpoint(tmp_path / "checkpoint", config))}
    places = {"MODEL": json.dumps(model), "TASK": json.dumps(task)}
    recipe = write_recipe(tmp_path / "recipe.yaml", RECIPE, places)
    optkit.run(recipe, output=tmp_path / "run", stop_after="export")
    zeros = sparsity(tmp_path / "run" / "pruned").denominators["encoder_linear"]
    assert zeros["sparsity"] == pytest.approx(0.5, abs=0.01)

    folder = tmp_path / "run" / "openvino"
    baked = runtime.bake(folder, tmp_path / "baked", plan="static")
    wanted = import_openvino().Core().compile_model(emulate_f32(read_model(folder)), "CPU", F32)
    got = runtime.compile_model(baked.xml, F32)
    # Activations at a tie go to either level, 1/255 apart, and what they become goes through the layers behind.
    for feed in inputs_for(read_model(folder)):
        known, found = outputs(wanted, feed), outputs(got, feed)
        assert np.abs(known - found).max() < 0.04 * np.abs(known).max()
    if "encoder" in name:  # and nothing of the decoder that its type has beside it
        assert [len(placed.layers) for placed in baked.rewrite.programs] == [12]
    if texts:
        served = read_folder(Path(tmp_path, "baked"))
        assert (served.embeds, served.ranks) == ("embedder" in name, name == "reranker")
