"""The way older formats will come in: one step a number, in order, positions kept."""

from __future__ import annotations

from pathlib import Path

from optkit.recipe import migrations
from optkit.recipe.faults import Source
from optkit.recipe.tree import read_tree


def test_steps_run_in_order_and_keep_positions(monkeypatch):
    def rename(old: str, new: str):
        def step(root):
            root.value[new] = root.value.pop(old)

        return step

    monkeypatch.setattr(migrations, "STEPS", {1: rename("a", "b"), 2: rename("b", "c")})
    root = read_tree(Source("r.yaml", "optkit: 1\na: 5\n", Path(".")), [])
    migrations.migrate(root, 1, 3)
    assert root.plain() == {"optkit": 3, "c": 5} and root.value["c"].key.line == 1
