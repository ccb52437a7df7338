"""The runs of a sweep: every combination of some values of a recipe."""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optkit.errors import RecipeError, UsageError
from optkit.experiments.runs import load_run
from optkit.report.reading import REPORT

#: Characters of a trial's name, which is that of its folder.
_LONGEST = 100


@dataclass(frozen=True)
class Axis:
    """One key of a recipe and the values that it takes in turn."""

    path: str
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, text: str) -> Axis:
        """An axis written as ``prune.0.schedule.to=[0.7, 0.8]``, its values as in a recipe.

        Raises:
            UsageError: if it is not written so.
        """
        from optkit.recipe.faults import Fault, Source
        from optkit.recipe.tree import read_tree

        path, equals, written = text.partition("=")
        faults: list[Fault] = []
        root = read_tree(Source("--grid", written, Path()), faults) if equals else None
        values = root.plain() if root is not None and not faults else None
        if not path.strip() or not isinstance(values, list) or not values:
            raise UsageError(f"--grid {text}: expected PATH=[VALUE, VALUE], such as prune.0.schedule.to=[0.7, 0.8]")
        twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
        if twice is not None:
            raise UsageError(f"--grid {path.strip()}: {twice} is given twice: write each value once")
        return cls(path.strip(), tuple(values))

    @classmethod
    def of(cls, grid: Mapping[str, Sequence[Any]] | Sequence[str]) -> list[Axis]:
        """The axes of a grid: values by key, or texts as ``parse`` takes them."""
        if isinstance(grid, Mapping):
            return [cls.parse(f"{path}={json.dumps(list(values))}") for path, values in grid.items()]
        return [cls.parse(text) for text in grid]


@dataclass(frozen=True)
class Trial:
    """A planned run: its name, its changes to the recipe as ``--set`` takes them, and the hash of the result."""

    name: str
    overrides: tuple[str, ...]
    hash: str


def trials(recipe: Path, axes: Sequence[Axis], overrides: Sequence[str] = ()) -> list[Trial]:
    """Every combination of the values on ``axes``, the last axis changing fastest.

    Args:
        recipe: a recipe file.
        overrides: of every run, before those of the axes.

    Raises:
        RecipeError: if the recipe is wrong in one of them, with all faults at once.
        UsageError: if two axes are of one key.
    """
    from optkit.recipe import load_recipe

    twice = [axis.path for i, axis in enumerate(axes) if axis.path in [other.path for other in axes[:i]]]
    if twice:
        raise UsageError(f"--grid {twice[0]}: given twice: write one list")
    found, problems = [], []
    short = _short_paths([axis.path for axis in axes])
    for values in itertools.product(*(axis.values for axis in axes)):
        sets = [f"{axis.path}={_written(value)}" for axis, value in zip(axes, values, strict=True)]
        name = "_".join(f"{part}-{_word(value)}" for part, value in zip(short, values, strict=True)) or "run"
        try:
            loaded = load_recipe(recipe, [*overrides, *sets])
            found.append(Trial(name, (*overrides, *sets), loaded.hash()))
        except RecipeError as error:
            said = [_of_grid(line, [axis.path for axis in axes]) for line in error.problems]
            problems += [line for line in said if line not in problems]
    if problems:
        raise RecipeError(problems)
    names = [trial.name for trial in found]
    names = [name if names.count(name) == 1 else f"{name}-{i}" for i, name in enumerate(names)]
    if len(set(names)) < len(names) or max(map(len, names)) > _LONGEST:
        names = [f"run-{i}" for i in range(len(names))]
    return [replace(trial, name=name) for trial, name in zip(found, names, strict=True)]


def _of_grid(problem: str, paths: Sequence[str]) -> str:
    """``problem`` with ``--grid`` instead of ``--set`` where the value is of an axis."""
    said, _, excerpt = problem.partition("\n")
    return said.replace("--set", "--grid", 1) if any(f"| {path}=" in excerpt for path in paths) else problem


def _written(value: Any) -> str:
    """A value as YAML in one line; JSON is YAML."""
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.%-]*|\d+[x:]\d+", value)
    return value if plain else json.dumps(value)


def _word(value: Any) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", value if isinstance(value, str) else json.dumps(value)).strip("-.") or "none"


def _short_paths(paths: Sequence[str]) -> list[str]:
    """The last parts of paths, as many as distinguish them."""
    for parts in range(1, max((path.count(".") + 1 for path in paths), default=1) + 1):
        short = [".".join(path.split(".")[-parts:]) for path in paths]
        if len(set(short)) == len(short):
            return [re.sub(r"[^A-Za-z0-9.]+", "-", name) for name in short]
    return [re.sub(r"[^A-Za-z0-9.]+", "-", path) for path in paths]


def is_done(folder: Path, trial: Trial) -> bool:
    """Whether the run in ``folder`` is a finished run of ``trial``."""
    return (folder / REPORT).is_file() and load_run(folder).report.recipe_hash == trial.hash


def command(recipe: Path, trial: Trial, root: Path) -> list[str]:
    """The command line of ``trial``."""
    sets = [word for text in trial.overrides for word in ("--set", text)]
    folder = root / trial.name
    return [
        *(sys.executable, "-m", "optkit", "run", str(recipe), *sets),
        *("--output", str(folder), "--reuse", str(root)),
    ]
