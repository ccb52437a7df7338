"""What is gathered for a report that the manifest alone would get wrong."""

from __future__ import annotations

import json
from types import SimpleNamespace

import optkit
from optkit import machine
from optkit.cpu import cpu_name
from optkit.pipeline.run_folder import RunDir
from optkit.recipe import load_recipe
from optkit.report.collection import collect, weight_bytes


def test_stages_that_the_recipe_no_longer_asks_for_are_left_out(finished_run, generated_recipe):
    run = RunDir(finished_run.folder, "tiny")
    recipe = load_recipe(generated_recipe, ["benchmark=null", "evaluate.max_drop=0.5"])
    task = SimpleNamespace(ov_class="OVModelForSequenceClassification")
    here = SimpleNamespace(run=run, recipe=recipe, task=task, versions={"torch": "2"})
    report = collect(here, ["train", "export"], None)
    assert report.benchmark is None and list(report.seconds) == ["train", "export"]
    assert set(report.bytes) == {"pruned", "openvino"}
    drop = finished_run.report["evaluate"]["drop"]
    assert report.evaluate.within_max_drop is (drop <= 0.5)
    assert report.recipe_hash == recipe.hash() != finished_run.report["recipe_hash"]


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


def moved(finished_run, tmp_path):
    """A copy of the run whose manifest says that it was made on other machines with other versions."""
    folder = finished_run.copy(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    for stage, entry in manifest["stages"].items():
        cpu, torch = ("A trainer", "1.0") if stage in ("dense", "train") else ("A CPU", "2.0")
        entry["machine"] |= {"cpu": cpu, "instruction_sets": ["avx2"]}
        entry["versions"]["torch"] = torch
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder, manifest


def test_figures_are_of_the_machine_that_measured_them(finished_run, generated_recipe, tmp_path):
    folder, _ = moved(finished_run, tmp_path)
    # Another description makes a new report, and measures nothing again.
    report = optkit.run(generated_recipe, ["description=Shown again."], output=folder)
    assert report["machine"]["cpu"] == "A CPU" and report["machine"]["instruction_sets"] == ["avx2"]
    assert report["versions"]["torch"] == "2.0" and "on A CPU, " in report["verdict"]
    assert report["measured"]["train"]["machine"]["cpu"] == "A trainer"
    text, card = (folder / "report.md").read_text(), (folder / "openvino" / "README.md").read_text()
    for page in (text, card):
        assert "Stages `dense` and `train` ran on A trainer with torch 1.0." in page and "torch 2.0" in page
        assert cpu_name() not in page


def test_a_copied_run_with_other_prices_says_where_it_was_measured(
    finished_run, generated_recipe, tmp_path, monkeypatch
):
    """As on a machine with another CPU and other packages, where the run's folder was copied to."""
    folder, prices = finished_run.copy(tmp_path), tmp_path / "prices.yaml"
    prices.write_text("date: 2026-01-01\nsource: here\ninstances: {m: {hourly: 0.36, cores: 8}}\n")
    measured = json.loads((folder / "manifest.json").read_text())["stages"]
    monkeypatch.setattr(machine, "cpu_name", lambda: "The CPU of the other machine")
    monkeypatch.setattr(machine, "installed", lambda package: "99.9")
    report = optkit.run(generated_recipe, [f"benchmark.prices={prices}"], output=folder)
    stages = json.loads((folder / "manifest.json").read_text())["stages"]
    again = {name for name, entry in stages.items() if entry != measured[name]}
    assert again <= {"plan", "report"} and stages["report"]["machine"]["cpu"] == "The CPU of the other machine"
    assert report["costs"] is not None and report["machine"] == measured["benchmark"]["machine"]
    assert report["machine"]["cpu"] == cpu_name() and report["versions"] == measured["benchmark"]["versions"]
    pages = [folder / "report.md", folder / "report.html", folder / "openvino" / "README.md"]
    for page in (file.read_text() for file in pages):
        assert f"on {cpu_name()}, " in page and "The CPU of the other machine" not in page and "99.9" not in page


def test_a_run_that_recorded_no_machine_keeps_that_of_its_report(finished_run, generated_recipe, tmp_path):
    folder, manifest = moved(finished_run, tmp_path)
    for entry in manifest["stages"].values():
        del entry["machine"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    earlier = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(
        json.dumps(earlier | {"machine": {"cpu": "An old CPU", "cores": 1, "system": "L"}})
    )
    report = optkit.run(generated_recipe, ["description=Shown again."], output=folder)
    assert report["machine"]["cpu"] == "An old CPU" and report["versions"]["torch"] == "2.0"
