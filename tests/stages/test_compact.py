"""The compact stage: a hybrid recipe leaves compact/ and an IR made of it; what is refused, and what is passed over."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from recipe_files import TINY_MODEL
from split_scores import split_scores
from transformers import AutoModelForSequenceClassification

import optkit
from optkit.counting.sparsity import sparsity
from optkit.ir.tags import read_tags
from optkit.pruning import compact

RECIPE = """\
optkit: 1
name: hybrid
seed: 3
model: TINY_MODEL
task:
  type: text-classification
  dataset: {generate: topics, train: 64, validation: 20}
  max_length: 32
train: {num_train_epochs: 1, learning_rate: 1e-3, per_device_train_batch_size: 16}
evaluate: {baseline: none}
prune:
""".replace("TINY_MODEL", TINY_MODEL.replace("num_attention_heads: 2", "num_attention_heads: 4"))
HYBRID = """\
  - {name: heads, structure: head, schedule: {shape: constant, to: 0.5, begin: 0}}
  - {name: neurons, structure: "neuron:4", schedule: {shape: constant, to: 0.5, begin: 0}}
  - {name: blocks, structure: 1x4, schedule: {shape: constant, to: 0.7, begin: 0}}
"""
ELEMENTS = "  - {schedule: {shape: constant, to: 0.3, begin: 0}}\n"


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory, optkit_cli):
    folder = tmp_path_factory.mktemp("hybrid")
    (folder / "hybrid.yaml").write_text(RECIPE + HYBRID, encoding="utf-8")
    printed = optkit_cli("run", folder / "hybrid.yaml", "--output", folder / "run")
    assert printed.code == 0, printed.err
    return folder / "run", printed


def test_compact_computes_what_pruned_does(hybrid):
    run, printed = hybrid
    assert "kept 4 of 8 heads, 64 of 128 neurons, 2 of 2 layers" in printed.err
    assert f"compacted:         {run / 'compact'}" in printed.out
    ids = torch.randint(5, 100, (4, 20), generator=torch.Generator().manual_seed(0))
    pruned = AutoModelForSequenceClassification.from_pretrained(run / "pruned")
    compacted = optkit.load_compact(run / "compact")
    with torch.no_grad():
        assert torch.allclose(compacted(ids).logits, pruned(ids).logits, rtol=0, atol=1e-5)
    assert {file.name for file in (run / "pruned").iterdir()} == {
        "model.safetensors" if file.name == "compact.safetensors" else file.name for file in (run / "compact").iterdir()
    }
    assert (run / "compact" / "compact.safetensors").stat().st_size < (
        0.8 * (run / "pruned" / "model.safetensors").stat().st_size
    )


def test_the_ir_is_made_of_it_and_counts_the_original_weights(hybrid):
    run, _ = hybrid
    tags = {tag.parameter: tag for tag in read_tags(run / "openvino").layers}
    assert sum(tag.original_shape is not None for tag in tags.values()) == 12
    query = tags["bert.encoder.layer.0.attention.self.query.weight"]
    assert query.original_shape == (32, 32) and query.shape[0] in (8, 16, 24)
    found = {name: sparsity(run / name).denominators["encoder_linear"] for name in ("pruned", "compact", "openvino")}
    assert found["pruned"] == found["compact"] == found["openvino"]
    assert found["pruned"]["zeros"] == 4 * round(0.7 * 16384 / 4)


def test_the_report_tells_of_it(hybrid):
    run, _ = hybrid
    report = json.loads((run / "report.json").read_text())
    assert report["compact"]["kept"] == {"heads": [4, 8], "neurons": [64, 128], "layers": [2, 2]}
    assert not report["compact"]["plain"] and report["compact"]["differ"] < 1e-5
    assert split_scores(report)["agreement"] == 1.0
    text = (run / "report.md").read_text()
    assert "## Compaction" in text and "loads with `optkit.load_compact`" in text
    shares = [layer["sparsity"] for layer in report["sparsity"]["openvino"]["layers"]]
    assert max(shares) < 0.69 < report["sparsity"]["openvino"]["denominators"]["encoder_linear"]["sparsity"]


def test_a_second_run_skips_it_and_false_goes_without(hybrid, optkit_cli, tmp_path):
    recipe, run = hybrid[0].parent / "hybrid.yaml", shutil.copytree(hybrid[0], tmp_path / "run")
    again = optkit_cli("run", recipe, "--output", run)
    assert again.code == 0 and again.err.count("done before, skipped") == 6
    without = optkit_cli("run", recipe, "--output", run, "--set", "export.compact=false", "--stop-after", "export")
    assert without.code == 0 and "] compact" not in without.err
    assert {tag.original_shape for tag in read_tags(run / "openvino").layers} == {None}


def test_outputs_that_change_stop_the_run(hybrid, optkit_cli, tmp_path, monkeypatch):
    def careless(model, rules):
        done = compact(model, rules)
        model.classifier.bias.data[1] += 0.25
        return done

    monkeypatch.setattr("optkit.stages.compact.compact", careless)
    run = shutil.copytree(hybrid[0], tmp_path / "run")
    again = optkit_cli("run", hybrid[0].parent / "hybrid.yaml", "--output", run, "--set", "export.compact=true")
    assert again.code == 1
    assert "pruned: its outputs changed by 0.25 when it was compacted: set export.compact=false" in again.err


def test_nothing_to_remove(tmp_path, optkit_cli):
    recipe, run = tmp_path / "elements.yaml", tmp_path / "run"
    recipe.write_text(RECIPE.replace("hybrid", "elements") + ELEMENTS, encoding="utf-8")
    done = optkit_cli("run", recipe, "--output", run, "--stop-after", "compact")
    assert done.code == 0 and "nothing to remove: pruning left no head, neuron or layer empty" in done.err
    assert not (run / "compact").exists()
    again = optkit_cli("run", recipe, "--output", run, "--stop-after", "compact")
    assert again.code == 0 and "compact: done before, skipped" in again.err
    wanted = optkit_cli("run", recipe, "--output", run, "--stop-after", "compact", "--set", "export.compact=true")
    assert wanted.code == 1 and "export.compact: pruning left no head, neuron or layer empty: prune heads" in wanted.err
    for value in ("maybe", "1"):
        wrong = optkit_cli("validate", recipe, "--set", f"export.compact={value}")
        assert wrong.code == 2 and "export.compact" in wrong.err


def test_a_plan_that_insists_needs_a_known_layout(tmp_path, optkit_cli):
    recipe = tmp_path / "elements.yaml"
    text = RECIPE.replace("model_type: bert,", "model_type: ernie,").replace("hybrid", "elements")
    recipe.write_text(text + ELEMENTS + "export: {compact: true}\n", encoding="utf-8")
    planned = optkit_cli("validate", "--plan", recipe)
    assert (
        planned.code == 2
        and "export.compact: where heads and neurons lie is not known for models of type" in planned.err
    )
