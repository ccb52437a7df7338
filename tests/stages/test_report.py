"""Prices in a recipe: what they change, and what they do not."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from optkit.errors import UsageError
from optkit.pipeline.validate import make_plan
from optkit.recipe import load_recipe
from optkit.recipe.resolved import identity
from optkit.stages import benchmark

LIST = "date: 2026-01-01\nsource: here\ninstances: {mine: {hourly: 0.36, cores: 2}}\n"


@pytest.fixture
def prices(tmp_path):
    file = tmp_path / "prices.yaml"
    file.write_text(LIST)
    return file


def test_other_prices_make_a_new_report_and_measure_nothing_again(
    finished_run, generated_recipe, prices, tmp_path, optkit_cli
):
    folder = finished_run.copy(tmp_path)
    printed = optkit_cli("run", generated_recipe, "--output", folder, "--set", f"benchmark.prices={prices}")
    assert printed.code == 0, printed.err
    assert "benchmark: done before, skipped" in printed.err and "report: done before" not in printed.err
    report = json.loads((folder / "report.json").read_text())
    assert report["benchmark"] == finished_run.report["benchmark"]
    costs = report["costs"]
    assert (costs["date"], costs["source"]) == ("2026-01-01", "here") and finished_run.report["costs"] is None
    [shape], [dense] = report["benchmark"]["shapes"], [c for c in costs["costs"] if c["engine"] == "dense/fp32/torch"]
    # A machine of two cores, at 0.0001 dollars a second.
    copies = max(2 // report["benchmark"]["settings"]["threads"], 1)
    [row] = [row for row in shape["rows"] if row["variant"] == "dense/fp32/torch"]
    assert dense["dollars"] == pytest.approx(0.0001 * 1e6 * row["milliseconds"] / 1000 / shape["batch"] / copies)
    text = (folder / "report.html").read_text()
    assert "prices of 2026-01-01: here." in text
    assert "ollars" not in (finished_run.folder / "report.html").read_text()
    assert "report.html\n" in printed.out


def test_prices_are_no_part_of_what_was_measured(generated_recipe, prices, monkeypatch):
    for stage in (benchmark.export, benchmark.dense):
        monkeypatch.setattr(stage, "key", lambda context: "same")
    monkeypatch.setattr(benchmark.serving, "kept_plan", lambda context: None)
    keys = []
    for change in ([], [f"benchmark.prices={prices}"], ["benchmark.batch=3"]):
        recipe = load_recipe(generated_recipe, change)
        context = SimpleNamespace(recipe=recipe, identity=identity(recipe), key=lambda *parts, **more: (parts, more))
        keys.append(benchmark.key(context))
    assert keys[0] == keys[1] != keys[2]


def test_a_list_that_cannot_be_read_is_refused_before_anything_runs(generated_recipe, prices):
    prices.write_text("instances: {}")
    with pytest.raises(UsageError, match=r"prices.yaml: expected `date`, `source` and `instances:"):
        make_plan(load_recipe(generated_recipe, [f"benchmark.prices={prices}"]))
    prices.unlink()
    with pytest.raises(UsageError, match=r"prices.yaml: cannot be read: No such file"):
        make_plan(load_recipe(generated_recipe, [f"benchmark.prices={prices}"]))
