"""Which parameters `train.freeze` leaves alone, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification

import optkit
from optkit.errors import PlanError
from optkit.models import freezing

PRUNED = ["bert.encoder.layer.0.output.dense"]


@pytest.fixture
def model():
    with torch.device("meta"):
        return BertForSequenceClassification(
            BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
        )


def test_patterns_freeze_whole_modules(model):
    freezing.freeze(model, ["*.embeddings", "re:bert\\.encoder\\.layer\\.1"])
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {
        name for name, _ in model.named_parameters() if name.startswith(("bert.embeddings.", "bert.encoder.layer.1."))
    }
    assert len(frozen) == 5 + 16


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["*embeddings"], []),
        ([], []),
        (["*embeding"], ["'*embeding' covers no module that has parameters, did you mean 'bert.embeddings'?"]),
        (
            ["*.layer.0"],
            ["bert.encoder.layer.0.output.dense is pruned while it is trained: exclude it there, or do not freeze it"],
        ),
        (["bert.embeddings", "bert.encoder.layer.1", "bert.pooler"], []),
    ],
)
def test_what_cannot_be_frozen_is_said(model, patterns, said):
    assert freezing.problems(model, patterns, PRUNED) == said


def test_something_is_left_to_train(model):
    assert freezing.problems(model, ["bert", "classifier"], []) == ["leaves no parameter to train"]


def test_a_frozen_part_comes_out_as_it_went_in(files_recipe, tiny_checkpoint, tmp_path):
    optkit.run(files_recipe, ["train.freeze='*embeddings'"], output=tmp_path / "run", stop_after="train")
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_checkpoint, tmp_path / "run/pruned"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if name.startswith("bert.embeddings.")}
    with pytest.raises(PlanError, match=r"train\.freeze: '\*nothing' covers no module that has parameters"):
        optkit.run(files_recipe, ["train.freeze='*nothing'"], output=tmp_path / "other", stop_after="plan")
