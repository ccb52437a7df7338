"""scripts/frontier_page.py: how runs become points, what it advises, and what it reuses."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

SENTENCES = 100


@pytest.fixture
def frontier(monkeypatch, scripts):
    monkeypatch.syspath_prepend(scripts)
    return import_module("frontier_page")


def write_run(folder, wrong: int, zeros: float):
    """A finished run whose int8 model takes ``wrong`` of 200 sentences for the other class."""
    (folder / "predictions").mkdir(parents=True)
    for split, errors in (("validation", wrong), ("test", 0)):
        labels = np.arange(SENTENCES) % 2
        right = np.eye(2, dtype=np.float32)[labels]
        pruned = right.copy()
        pruned[:errors] = right[:errors, ::-1]
        outputs = {"dense/fp32/torch": right, "pruned/int8/openvino": pruned, "labels": labels}
        save_file(
            {name: np.ascontiguousarray(each) for name, each in outputs.items()},
            folder / f"predictions/{split}.safetensors",
        )
    counted = {"openvino": {"denominators": {"encoder_linear": {"sparsity": zeros}}}}
    (folder / "report.json").write_text(json.dumps({"sparsity": counted}))
    return folder


@pytest.fixture
def measured(tmp_path):
    """Three runs, and times of them as `optkit bench` returns them."""
    runs = {
        "dense": write_run(tmp_path / "a", 0, 0.0),
        "blocks": write_run(tmp_path / "b", 2, 0.8),
        "beaten": write_run(tmp_path / "c", 3, 0.5),
        "many": write_run(tmp_path / "d", 8, 0.9),
    }
    rows = []
    for (name, path), ratio in zip(runs.items(), (1.1, 3.0, 2.0, 4.5), strict=True):
        rows.append({"variant": "pruned/int8/openvino", "path": str(path), "milliseconds": 9.0})
        rows[-1] |= {} if name == "dense" else {"ratio": [1.0, 0.9, 1.1]}
        rows.append({"variant": "pruned/int8/optkit", "path": str(path), "milliseconds": 9.0 / ratio})
        rows[-1] |= {"ratio": [ratio, ratio - 0.1, ratio + 0.1], "noisy": name == "many"}
    settings = {"threads": 2, "precision": "bf16"}
    return runs, {"machine": {"cpu": "a CPU"}, "settings": settings, "shapes": [{"seq": 128, "rows": rows}]}


def test_points_are_paired_with_dense_and_the_fastest_comes_first(frontier, measured):
    found = frontier.points(*measured)
    assert [point.name for point in found] == ["many", "blocks", "beaten", "dense"]
    assert [point.lost[0] for point in found] == pytest.approx([4.0, 1.0, 1.5, 0.0])
    assert [point.plain[0] for point in found] == [1.0] * 4 and found[0].noisy and found[1].zeros == 0.8
    said = frontier.render(found, measured[1], "picture.svg")
    assert said.startswith("On this CPU, take **blocks** for one point (3.00 times as fast), **blocks** for two (3.00")
    assert "](picture.svg)" in said
    assert "| blocks | 1.00 ± " in said and "| 80% | **3.00 (2.90 to 3.10)** | 1.00 (0.90 to 1.10) | 3.00 |  |" in said
    assert [line.split("|")[-2].strip() for line in said.splitlines() if line.startswith("| ")][1:] == [
        "noisy",
        "",
        "beaten",
        "",
    ]


def test_a_run_of_the_dense_model_is_its_own_baseline(frontier, measured):
    runs, result = measured
    for split in ("validation", "test"):
        file = runs["dense"] / f"predictions/{split}.safetensors"
        outputs = load_file(file)
        save_file({name.replace("dense/", "pruned/"): each for name, each in outputs.items()}, file)
    assert {point.name: point.lost[0] for point in frontier.points(runs, result)}["dense"] == 0.0


def test_nothing_is_advised_that_loses_too_much(frontier, measured):
    runs, result = measured
    many = [point for point in frontier.points(runs, result) if point.name == "many"]
    assert frontier.advice(many) == "Nothing here is within two points."


def test_a_picture_has_a_name_that_a_link_may_have(frontier):
    page = Path("docs/frontier.md")
    assert frontier.picture_name(page, "MiniLM-L6") == "frontier-minilm-l6.svg"
    assert frontier.picture_name(page, "MPNet-base on AVX2 (Zen 3)") == "frontier-mpnet-base-on-avx2-zen-3.svg"


def test_each_model_has_a_section_of_the_page(frontier, tmp_path):
    page = tmp_path / "frontier.md"
    for section, text in (("A", "first"), ("B", "second"), ("A", "third")):
        frontier.write(page, section, text)
    written = page.read_text(encoding="utf-8")
    assert written.startswith("# Accuracy against speed\n") and "first" not in written
    assert written.index("## A\n") < written.index("\nthird\n") < written.index("## B\n") < written.index("\nsecond\n")


def test_a_folder_that_is_no_run_is_one_line(script, tmp_path, page, measured, monkeypatch, capsys):
    given = ["--data", tmp_path, "--model", tmp_path, "--output", tmp_path / "out", "--page", page.path]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "frontier-dense-42.json").write_text("{}")
    assert script("frontier_page", *given, "--only", "none", "--run", f"x={tmp_path}") == 1
    assert capsys.readouterr().err == f"frontier_page: --run x={tmp_path}: expected NAME=FOLDER of a finished run\n"
