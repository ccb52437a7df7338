"""What is gathered for a report that the manifest alone would get wrong."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

import optkit
from optkit import machine
from optkit.cpu import cpu_name
from optkit.pipeline.context import RunContext
from optkit.pipeline.run_folder import RunDir
from optkit.progress import Reporter
from optkit.recipe import load_recipe
from optkit.report import render_html
from optkit.report.collection import collect, weight_bytes
from optkit.report.render.card import render as render_card
from optkit.report.render.markdown import render


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


@pytest.fixture
def other_machine(monkeypatch):
    """Another CPU and other packages, as where a run's folder was copied to."""
    monkeypatch.setattr(machine, "cpu_name", lambda: "The CPU of the other machine")
    monkeypatch.setattr(machine, "installed", lambda package: "99.9+other")


def test_a_copied_run_shown_with_other_prices_says_where_it_was_measured(
    finished_run, generated_recipe, tmp_path, other_machine
):
    folder, prices = finished_run.copy(tmp_path), tmp_path / "prices.yaml"
    prices.write_text("date: 2026-01-01\nsource: here\ninstances: {m: {hourly: 0.36, cores: 8}}\n")
    measured = json.loads((folder / "manifest.json").read_text())["stages"]
    recipe = load_recipe(generated_recipe, [f"benchmark.prices={prices}"])
    context = RunContext(recipe, RunDir(folder, "tiny"), Reporter(quiet=True))
    found = collect(context, [name for name in measured if name != "report"], folder / "dense")
    assert found.costs is not None and found.versions == measured["benchmark"]["versions"]
    assert found.machine.model_dump() == measured["benchmark"]["machine"] and found.machine.cpu == cpu_name()
    for page in (render(found), render_html(found), render_card(found)):
        assert f"on {cpu_name()}, " in page and "The CPU of the other machine" not in page and "99.9+other" not in page


def test_what_is_timed_again_elsewhere_is_told_from_what_was_done_before(
    finished_run, generated_recipe, tmp_path, other_machine, capsys
):
    folder = finished_run.copy(tmp_path)
    torch = json.loads((folder / "manifest.json").read_text())["stages"]["train"]["versions"]["torch"]
    report = optkit.run(generated_recipe, output=folder, quiet=False)
    assert "with other versions than those installed: " in (said := capsys.readouterr().err)
    assert f"torch {torch} (99.9+other now)" in said
    assert report["machine"]["cpu"] == "The CPU of the other machine" and report["versions"]["torch"] == "99.9+other"
    before = [line for line in (folder / "report.md").read_text().splitlines() if f"ran on {cpu_name()} with " in line]
    assert len(before) == 1 and before[0].startswith("Stages `dense`, `train`, `compact`, `export` and `evaluate` ran")


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
