"""What is gathered for a report that the manifest alone would get wrong."""

from __future__ import annotations

from types import SimpleNamespace

from optkit.recipe import load_recipe
from optkit.reporting.facts import gather, weight_bytes
from optkit.rundir import RunDir


def test_stages_that_the_recipe_no_longer_asks_for_are_left_out(finished_run, generated_recipe):
    run = RunDir(finished_run.folder, "tiny")
    recipe = load_recipe(generated_recipe, ["benchmark=null", "evaluate.max_drop=0.5"])
    task = SimpleNamespace(ov_class="OVModelForSequenceClassification")
    job = SimpleNamespace(run=run, recipe=recipe, task=task, versions={"torch": "2"})
    report = gather(job, ["train", "export"], None)
    assert report["benchmark"] is None and list(report["seconds"]) == ["train", "export"]
    assert set(report["bytes"]) == {"pruned", "openvino"}
    drop = finished_run.report["evaluate"]["drop"]
    assert report["evaluate"]["within_max_drop"] is (drop <= 0.5)
    assert report["recipe_hash"] == recipe.hash() != finished_run.report["recipe_hash"]


def test_bytes_are_those_of_one_copy_of_the_weights(tmp_path):
    for name, count in {"model.safetensors": 10, "pytorch_model.bin": 11, "config.json": 5, "vocab.txt": 7}.items():
        (tmp_path / name).write_bytes(b"x" * count)
    assert weight_bytes(tmp_path) == 10
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "openvino_model.xml").write_bytes(b"x" * 3)
    assert weight_bytes(tmp_path) == 14
    for name, count in {"openvino_tokenizer.xml": 50, "model.onnx": 20, "model.onnx.data": 30}.items():
        (tmp_path / name).write_bytes(b"x" * count)
    assert weight_bytes(tmp_path) == 64  # what a text becomes is no weight
