"""scripts/tasks_table.py: a recipe at a tiny size, and a page that has a row for every recipe on generated data."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from optkit.recipe import load_recipe
from optkit.tasks import TASKS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TINY = ["model.config.hidden_size=32", "model.config.num_attention_heads=2", "model.config.intermediate_size=64"]
TINY += ["task.dataset.train=64", "task.dataset.validation=20", "quantize.calibration.samples=8"]


def test_a_row_of_the_table(script, page, tmp_path):
    sets = [argument for text in TINY for argument in ("--set", text)]
    given = ["--output", tmp_path / "runs", "--page", page.path, "--threads", 1, *sets]
    assert script("tasks_table", *given, "--only", "nothing of the kind") == 2
    assert script("tasks_table", *given, "--only", "question-answering") == 0
    text = page.read()
    rows = [line.split(" | ") for line in text.splitlines() if "](../recipes/" in line or line.startswith("|  |  |")]
    done = next(i for i, row in enumerate(rows) if row[0] == "| question-answering")
    assert rows[done][2] == "answer_f1" and rows[done + 1][2] == "exact_match" and rows[done][6] == "80%"
    assert all(re.fullmatch(r"\d+\.\d\d", score) for row in rows[done : done + 2] for score in row[3:6])
    assert text.count("| not run |") == len(rows) - 2
    assert re.search(r"^On .+, 1 thread; torch .+, openvino .+, nncf ", text, re.MULTILINE)


def test_a_page_without_a_place_for_the_table(script, tmp_path, capsys):
    page = tmp_path / "tasks.md"
    page.write_text("by hand\n", encoding="utf-8")
    assert script("tasks_table", "--output", tmp_path / "runs", "--page", page) == 2
    marks = (
        "there is no '<!-- measured: begin -->' with a '<!-- measured: end -->' after it: give the page of this script"
    )
    assert capsys.readouterr().err == f"tasks_table: {page}: {marks}\n"
    assert page.read_text(encoding="utf-8") == "by hand\n" and not (tmp_path / "runs").exists()


def test_the_page_tells_of_every_task_and_its_recipe_on_generated_data(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    listed = runpy.run_path(str(ROOT / "scripts" / "tasks_table.py"))["ROWS"]
    recipes = {name: load_recipe(ROOT / "recipes" / f"{name}.yaml") for name in listed.values()}
    assert {recipe.task.type for recipe in recipes.values()} == set(TASKS)
    generated = [path.stem for path in (ROOT / "recipes").glob("*.yaml") if load_recipe(path).task.dataset.generate]
    assert sorted(generated) == sorted(listed.values())
    page = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
    assert [name for name in TASKS if f"\n## {name}\n" not in page] == []
    measured = page.partition("<!-- measured: begin -->")[2].partition("<!-- measured: end -->")[0]
    assert [name for name in recipes if f"(../recipes/{name}.yaml)" not in measured] == []
    assert "not run" not in measured
