"""The longest input of a model: what its exported folder says, for architectures whose tables keep rows free."""

from __future__ import annotations

import json
import shutil

import pytest

from optkit.models.tokenizer import store_longest_input
from optkit.serving import read_folder

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SMALL = {**SIZES, "vocab_size": 40, "max_position_embeddings": 24}


@pytest.fixture
def folder(tmp_path, classifier):
    """What an export leaves, with a config and settings of a tokenizer that the test gives."""

    def make(kind: str, config: dict, settings: dict):
        for name in ("openvino_model.xml", "tokenizer.json"):
            shutil.copy(classifier / name, tmp_path / name)
        values = SMALL | {"model_type": kind, "architectures": ["XForSequenceClassification"]} | config
        (tmp_path / "config.json").write_text(json.dumps(values))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("kind", "config", "longest"),
    [
        ("roberta", {"pad_token_id": 1}, 22),
        ("roberta-prelayernorm", {"pad_token_id": 1}, 22),
        ("mpnet", {"pad_token_id": 1}, 22),
        ("ibert", {"pad_token_id": 1}, 22),
        ("luke", {"pad_token_id": 1, "entity_vocab_size": 4, "entity_emb_size": 8}, 22),
        ("esm", {"pad_token_id": 3, "position_embedding_type": "absolute", "mask_token_id": 5}, 20),
    ],
)
def test_the_export_says_how_many_tokens_the_model_takes(folder, kind, config, longest):
    path = folder(kind, config, {"padding_side": "right", "model_max_length": int(1e30)})
    assert read_folder(path).longest == 24  # which the model would fail on
    store_longest_input(path)
    assert read_folder(path).longest == longest
    assert json.loads((path / "tokenizer_config.json").read_text()) == {
        "padding_side": "right",
        "model_max_length": longest,
    }


@pytest.mark.parametrize(
    ("kind", "settings"), [("bert", {"model_max_length": 512}), ("roberta", {"model_max_length": 20}), ("bert", {})]
)
def test_what_is_said_already_stays_byte_for_byte(folder, kind, settings):
    path = folder(kind, {"pad_token_id": 1}, settings)
    before = (path / "tokenizer_config.json").read_bytes()
    store_longest_input(path)
    assert (path / "tokenizer_config.json").read_bytes() == before
    assert read_folder(path).longest == min(24, settings.get("model_max_length", 24))


def test_an_exported_model_is_served_to_its_last_position(tmp_path, tiny_checkpoint, save_checkpoint):
    """RoBERTa, whose table begins behind the padding id: as many tokens as the folder says are computed."""
    import asyncio

    from optkit import export_openvino
    from optkit.serving import ModelRunner, RunnerOptions

    source = tmp_path / "source"
    config = SMALL | {"vocab_size": 400, "pad_token_id": 0, "num_labels": 2}
    save_checkpoint(source, "RobertaForSequenceClassification", config, (1, 1), 0)
    shutil.copy(tiny_checkpoint / "tokenizer.json", source / "tokenizer.json")
    export_openvino(source, tmp_path / "ir", export_task="text-classification")
    found = read_folder(tmp_path / "ir")
    assert found.longest == 23
    runner = ModelRunner(found, RunnerOptions(threads=1, streams=1))
    [row] = asyncio.run(runner.run(["the soup was fine . " * 20], truncate=True))
    assert len(row.tokens) == 23 and row.output.shape == (2,)
