"""What a schedule begins `from`, removed in one shot before training: how much, that training keeps it, what is shared."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from manifests import facts
from safetensors.torch import load_file

import optkit
from optkit.errors import OptkitError

pytestmark = pytest.mark.slow

RULES = """prune=[
  {name: neurons, criterion: taylor, structure: 'neuron:4', schedule: {from: 0.25, to: 0.25, begin: 2, end: 50%}},
  {name: blocks, criterion: taylor, structure: 1x4, scope: local,
   schedule: {from: 0.5, to: 0.75, begin: 2, end: 50%, every: 2}}]"""
SETS = [RULES, "oneshot={samples: 24, batch_size: 8}"]


def blocks_of(weights, name):
    """By block of 1x4, whether all of it is zero."""
    return (weights[name] == 0).unflatten(1, (-1, 4)).all(dim=2)


@pytest.fixture(scope="module")
def trained(files_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun") / "run"
    optkit.run(files_recipe, SETS, output=folder, stop_after="train")
    return folder


def test_the_start_is_as_sparse_as_the_schedules_begin(trained, tiny_checkpoint):
    begun = {rule["name"]: rule["pruned"] / rule["groups"] for rule in facts(trained, "start")["rules"]}
    assert begun == {"neurons": 0.25, "blocks": 0.5}
    start, dense = (
        load_file(file) for file in (trained / "start/weights.safetensors", tiny_checkpoint / "model.safetensors")
    )
    query = "bert.encoder.layer.0.attention.self.query.weight"
    where = blocks_of(start, query)
    assert float(where.float().mean()) == 0.5
    # Refitted: what stays is not what it was.
    assert not torch.equal(start[query][start[query] != 0], dense[query][start[query] != 0])
    assert torch.equal(start["bert.embeddings.word_embeddings.weight"], dense["bert.embeddings.word_embeddings.weight"])


def test_training_keeps_the_zeros_and_goes_on_to_its_targets(trained):
    start, pruned = load_file(trained / "start/weights.safetensors"), load_file(trained / "pruned/model.safetensors")
    assert {rule["name"]: rule["pruned"] / rule["groups"] for rule in facts(trained, "train")["rules"]} == {
        "neurons": 0.25,
        "blocks": 0.75,
    }
    grown = 0
    for name in (name for name in pruned if ".layer." in name and pruned[name].dim() == 2):
        before, after = blocks_of(start, name), blocks_of(pruned, name)
        assert not (before & ~after).any()
        grown += int(after.sum()) - int(before.sum())
    assert grown > 0


def test_trainings_that_go_elsewhere_from_there_share_it(trained, files_recipe, tmp_path):
    other = [*SETS, "prune.blocks.schedule.to=0.8", "prune.blocks.criterion=magnitude", "train.max_steps=6"]
    optkit.run(files_recipe, other, output=tmp_path / "run", stop_after="train", reuse=[trained])
    copied = (tmp_path / "run" / "start" / "weights.safetensors").read_bytes()
    assert copied == (trained / "start" / "weights.safetensors").read_bytes()
    report = json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]
    assert report["start"]["key"] == json.loads((trained / "manifest.json").read_text())["stages"]["start"]["key"]
    assert report["train"]["key"] != json.loads((trained / "manifest.json").read_text())["stages"]["train"]["key"]


def test_a_damaged_start_is_one_line(trained, files_recipe, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    (folder / "start" / "weights.safetensors").write_bytes(b"half")
    with pytest.raises(
        OptkitError, match=r"weights.safetensors: damaged or missing .*: remove the folder .*start and run"
    ):
        optkit.run(files_recipe, [*SETS, "train.max_steps=6"], output=folder, stop_after="train")
