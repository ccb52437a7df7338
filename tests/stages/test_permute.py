"""Orders of features inside a run: the same model before pruning, plain checkpoints after it, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from manifests import facts
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

import optkit
from optkit.errors import PlanError, RecipeError
from optkit.pipeline.validate import make_plan
from optkit.pruning import Permutation
from optkit.recipe import load_recipe

pytestmark = pytest.mark.slow

BLOCKS = ["prune.0.structure=4x4", "prune.0.permute=all"]
ONE_SHOT = [
    "train=null",
    """prune=[
      {name: neurons, criterion: wanda, structure: 'neuron:4', permute: neurons, schedule: {to: 0.5}},
      {name: blocks, criterion: wanda, structure: 4x4, scope: local, permute: [hidden, head_features],
       schedule: {to: 0.5}}]""",
    "oneshot.samples=24",
]


def dense_and_permuted(checkpoint, folder):
    models = [AutoModelForSequenceClassification.from_pretrained(checkpoint).eval() for _ in range(2)]
    Permutation.load(folder / "permutation" / "orders.safetensors").apply(models[1])
    return models


@pytest.fixture(scope="module")
def trained(files_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("permuted") / "run"
    optkit.run(files_recipe, BLOCKS, output=folder, stop_after="train")
    return folder


def test_the_orders_of_a_run_keep_what_the_model_computes(trained, tiny_checkpoint):
    dense, permuted = dense_and_permuted(tiny_checkpoint, trained)
    ids = torch.randint(5, dense.config.vocab_size, (4, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(permuted(ids).logits, dense(ids).logits, atol=1e-5)
    before, after = facts(trained, "permute")["kept"]["encoder"]
    assert after > before > 0.5


def test_the_pruned_checkpoint_is_plain_and_near_the_permuted_model(trained, tiny_checkpoint):
    dense, permuted = (model.state_dict() for model in dense_and_permuted(tiny_checkpoint, trained))
    pruned = load_file(trained / "pruned" / "model.safetensors")
    assert pruned.keys() == dense.keys()
    blocks = nearer = 0
    for name, values in pruned.items():
        if ".layer." in name and values.dim() == 2:
            zeros = (values == 0).unflatten(0, (-1, 4)).unflatten(2, (-1, 4)).float().mean(dim=(1, 3))
            assert set(zeros.unique().tolist()) <= {0.0, 1.0}
            blocks += int(zeros.sum())
            kept = values != 0
            nearer += bool((values - permuted[name])[kept].norm() < (values - dense[name])[kept].norm())
    assert blocks == sum(rule["pruned"] for rule in facts(trained, "train")["rules"])
    assert nearer == 12


def test_a_second_run_finds_the_same_orders(trained, files_recipe, tmp_path):
    optkit.run(files_recipe, BLOCKS, output=tmp_path / "run", stop_after="permute")
    files = [folder / "permutation" / "orders.safetensors" for folder in (trained, tmp_path / "run")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_one_shot_prunes_a_permuted_model_that_compacts(files_recipe, tiny_checkpoint, tmp_path):
    folder = tmp_path / "run"
    optkit.run(files_recipe, ONE_SHOT, output=folder, stop_after="compact")
    kept = facts(folder, "permute")["kept"]
    assert set(kept) == {"neurons", "blocks"} and all(after > before for before, after in kept.values())
    assert facts(folder, "compact")["compacted"]
    dense, permuted = (model.state_dict() for model in dense_and_permuted(tiny_checkpoint, folder))
    pruned = load_file(folder / "pruned" / "model.safetensors")
    for name, values in pruned.items():
        if ".layer." in name and values.dim() == 2:
            # Nothing was trained: what is left are weights of the permuted model.
            assert torch.equal(values, permuted[name].where(values != 0, 0.0))
    assert not torch.equal(permuted["bert.pooler.dense.weight"], dense["bert.pooler.dense.weight"])


def test_sparsities_are_allocated_on_the_permuted_model(files_recipe, tmp_path):
    allocate = "prune.0.allocate={by: sensitivity, samples: 16, grid: [0.3, 0.6, 0.9]}"
    found = []
    for name, sets in (("permuted", BLOCKS), ("plain", BLOCKS[:1])):
        optkit.run(files_recipe, [*sets, allocate], output=tmp_path / name, stop_after="allocate")
        found.append(json.loads((tmp_path / name / "allocation" / "allocation.json").read_text())["rules"]["encoder"])
    assert found[0]["loss"] != found[1]["loss"]


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        (
            ["prune.0.permute=all"],
            "prune.0.permute: groups of element stay the same in any order: remove permute, or choose blocks",
        ),
        (["prune.0.structure=4x4", "prune.0.permute=rows"], "prune.0.permute"),
        (
            [
                "prune=[{name: held, criterion: frozen, structure: 1x4}, {name: more, structure: 4x4, permute: hidden}]",
            ],
            "prune.1.permute: rule 'held' keeps blocks of zeros in "
            "bert.encoder.layer.0.attention.self.query.weight, which another order would break up",
        ),
    ],
)
def test_what_cannot_be_permuted_is_said_in_the_plan(files_recipe, sets, text):
    with pytest.raises((PlanError, RecipeError)) as caught:
        make_plan(load_recipe(files_recipe, sets))
    assert text in str(caught.value)
