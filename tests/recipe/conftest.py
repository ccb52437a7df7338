"""What the recipe tests share: a minimal recipe and a way to load text."""

from __future__ import annotations

from pathlib import Path

import pytest

from optkit.errors import RecipeError
from optkit.recipe import load_recipe

MINIMAL = """\
optkit: 1
model: {name: bert-base-uncased}
task:
  type: text-classification
  dataset: {name: glue, config: sst2}
prune:
  - name: encoder
    criterion: movement
quantize: {method: int8}
"""


class Recipes:
    """Writes recipes into one folder and loads them."""

    minimal = MINIMAL

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, text: str, name: str = "r.yaml") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, text: str = MINIMAL, *overrides: str):
        return load_recipe(self.write(text), overrides)

    def problems(self, text: str = MINIMAL, *overrides: str) -> list[str]:
        """The first line of every fault, without the file's folder."""
        with pytest.raises(RecipeError) as caught:
            self.load(text, *overrides)
        return [problem.split("\n")[0].replace(f"{self.folder}/", "") for problem in caught.value.problems]


@pytest.fixture
def recipes(tmp_path: Path) -> Recipes:
    return Recipes(tmp_path)
