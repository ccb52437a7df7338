"""Structures, heads and neurons of weights whose zeros were put there by hand."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from optkit.counting.result import measure
from optkit.interop.structure import idle_groups, sentence

PREFIX = "bert.encoder.layer.0."


@pytest.fixture
def weights(tiny_checkpoint):
    """Matrices of two layers without zeros: two heads of 16, 64 neurons each."""
    rng = np.random.default_rng(0)
    found = load_file(tiny_checkpoint / "model.safetensors")
    matrices = {name: array for name, array in found.items() if array.ndim == 2 and "embeddings" not in name}
    return {name: rng.uniform(1, 2, array.shape).astype(np.float32) for name, array in matrices.items()}


def facts(weights):
    return {name: measure(name, array, "f32") for name, array in weights.items()}


def test_each_structure_is_told_and_what_adds_nothing(weights, tiny_checkpoint):
    rng = np.random.default_rng(0)
    order = rng.random((32, 8, 4)).argsort(axis=2).reshape(32, 32)
    weights[PREFIX + "attention.self.query.weight"][order > 1] = 0
    weights[PREFIX + "attention.self.key.weight"] *= np.kron(rng.permutation(256).reshape(32, 8) < 64, np.ones((1, 4)))
    weights[PREFIX + "attention.self.value.weight"][:16] = 0
    weights[PREFIX + "attention.output.dense.weight"][:, :16] = 0
    weights[PREFIX + "intermediate.dense.weight"][3:8] = 0
    weights[PREFIX + "output.dense.weight"][:, 3:8] = 0
    found = facts(weights)
    assert {name.removeprefix(PREFIX): fact.structure for name, fact in found.items() if fact.structure != "dense"} == {
        "attention.self.query.weight": "2:4",
        "attention.self.key.weight": "1x4",
        "attention.self.value.weight": "row",
        "attention.output.dense.weight": "column",
        "intermediate.dense.weight": "row",
        "output.dense.weight": "column",
    }
    idle = idle_groups(tiny_checkpoint, weights)
    assert idle == {"attention heads": (1, 4), "feed-forward neurons": (5, 128)}
    zeros = 512 + 768 + 512 + 512 + 5 * 32 * 2
    said = sentence(found, idle)
    head, _, tail = said.partition(": ")
    assert head == f"6 of 14 linear layers are pruned, {100 * zeros / 8192:.2f} % of their weights"
    structures, _, idle_said = tail.partition("; ")
    assert set(structures.split(", ")) == {"whole rows in 2", "whole columns in 2", "2:4 in 1", "1x4 blocks in 1"}
    assert idle_said == "1 of 4 attention heads and 5 of 128 feed-forward neurons add nothing"


def test_what_is_dense_or_unknown(weights, tiny_checkpoint, tmp_path):
    assert sentence(facts(weights), {}).startswith("the model is dense: quantizing only saves arithmetic")
    assert idle_groups(tiny_checkpoint, weights) == {"attention heads": (0, 4), "feed-forward neurons": (0, 128)}
    assert idle_groups(tiny_checkpoint, {"MatMul_3": np.zeros((32, 32), np.float32)}) == {}
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForTelepathy"]}')
    assert idle_groups(tmp_path, weights) == {}
