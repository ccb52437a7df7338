"""scripts/models_table.py: a row of the table, and a page that has one for every type."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_a_row_of_the_table(script, page, tmp_path):
    given = ["--output", tmp_path / "runs", "--page", page.path]
    assert script("models_table", *given, "--only", "nothing of the kind") == 2
    assert script("models_table", *given, "--only", "distilbert") == 0
    [row] = [line for line in page.read().splitlines() if line.startswith("| `distilbert`")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:6] == ["12 of 12", "12 of 12", "2 of 2", "1"]
    assert all(re.fullmatch(r"\de-\d\d", cell) for cell in cells[6:8]) and float(cells[6]) < 1e-5
    assert float(cells[7]) < 0.04  # activations at a tie go to either level


def test_the_page_tells_of_every_type(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    listed = runpy.run_path(str(ROOT / "scripts" / "models_table.py"))
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert [name for name in listed["TEXTS"] | listed["IMAGES"] if f"\n| `{name}`" not in page] == []
    assert "not run" not in page
