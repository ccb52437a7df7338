"""scripts/accuracy_table.py: a cell at a tiny size, run once, and what its table says."""

from __future__ import annotations

import runpy
import shutil

import numpy as np
import pytest

from optkit.variant import Variant

pytestmark = pytest.mark.slow

TINY = ["task.max_length=32", "oneshot.samples=16", "quantize.calibration.samples=8"]
CELL = "one-shot 50 % 1x4"


@pytest.fixture
def arguments(tmp_path, page, tiny_files, tiny_checkpoint):
    """Arguments for data and a model at a tiny size."""
    data = tmp_path / "data"
    data.mkdir()
    for split, name in {"train": "train", "validation": "dev", "test": "test"}.items():
        shutil.copy(tiny_files[split], data / f"{name}.tsv")
    places = ["--data", data, "--model", tiny_checkpoint, "--output", tmp_path / "runs", "--page", page.path]
    return [*places, "--threads", 1, *(word for text in TINY for word in ("--set", text))]


def test_a_cell_is_run_once_and_the_others_are_not_run(script, arguments, page, tmp_path, capsys):
    assert script("accuracy_table", *arguments, "--only", "nothing of the kind") == 2
    assert script("accuracy_table", *arguments, "--only", CELL, "--seed", 42) == 0
    rows = [line for line in page.read().splitlines() if line.startswith("| ") and "| points below dense |" not in line]
    [done] = [line for line in rows if "---" not in line]
    cells = [cell.strip() for cell in done.strip("|").split("|")]
    name, accuracy, points, _, seeds, steps, time, memory, limit, goal = cells
    assert (
        (name, seeds, steps, limit, goal) == (CELL, "42", "0", "3", "1.5")
        and time.endswith("min x 1")
        and memory.endswith("GB")
    )
    # Of 48 sentences, dev and test together.
    assert float(accuracy) * 0.48 == pytest.approx(round(float(accuracy) * 0.48), abs=0.01)
    assert points.startswith("**")
    [folder] = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    before = (folder / "manifest.json").read_bytes()
    capsys.readouterr()
    assert script("accuracy_table", *arguments, "--only", CELL, "--seed", 42) == 0
    assert capsys.readouterr().out.endswith("seed 42: done\n") and (folder / "manifest.json").read_bytes() == before


def test_a_cell_that_fails_names_its_log_and_has_no_row(script, arguments, page, tmp_path, capsys):
    assert script("accuracy_table", *arguments, "--only", CELL, "--seed", 42, "--set", "task.label=nowhere") == 1
    said = capsys.readouterr().err
    assert said.startswith("accuracy_table: exit ") and said.rstrip().endswith("-42.log")
    assert "nowhere" in next((tmp_path / "runs").glob("*.log")).read_text(encoding="utf-8") and CELL not in page.read()


def test_a_row_stays_where_its_run_is_gone(script, arguments, page, tmp_path):
    assert script("accuracy_table", *arguments, "--only", CELL, "--seed", 42) == 0
    [done] = [line for line in page.read().splitlines() if line.startswith(f"| {CELL} ")]
    shutil.rmtree(tmp_path / "runs")
    absent = [*arguments, "--only", CELL, "--seed", 42, "--set", "task.label=nowhere"]
    assert script("accuracy_table", *absent) == 1 and done in page.read().splitlines()


def test_a_larger_teacher_is_asked_for_before_anything_runs(script, arguments, tmp_path, capsys):
    assert script("accuracy_table", *arguments, "--only", "a larger teacher 80 % 4x4") == 2
    assert "--teacher" in capsys.readouterr().err and not (tmp_path / "runs").exists()


def test_a_drop_is_paired_by_sentence_and_averaged_over_seeds(monkeypatch, scripts):
    monkeypatch.syspath_prepend(scripts)
    script = runpy.run_path(str(scripts / "accuracy_table.py"))
    drop, reference, variant = script["drop"], script["DENSE"], Variant("pruned", "int8", "openvino")
    dense = np.ones(100)
    runs = [{reference: dense, variant: np.r_[np.zeros(wrong), np.ones(100 - wrong)]} for wrong in (10, 20)]
    points, half = drop(runs, variant)
    differences = np.r_[np.ones(10), np.full(10, 0.5), np.zeros(80)]
    assert points == pytest.approx(15.0)
    assert half == pytest.approx(100 * 1.96 * differences.std(ddof=1) / 10, rel=1e-3)
