"""Many runs of one recipe: every combination of some values, each a run of its own in a folder of the sweep.

A run is a process (`optkit run`), so one that fails or is killed leaves the others alone. Stages that several runs
share (the dense baseline, the teacher) are made by the first that comes to them, and copied by the rest. What is done
is not done again: a sweep that was killed goes on when it is started again.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from optkit.errors import RecipeError
from optkit.experiments.pareto import Frontier, chart, frontier
from optkit.experiments.runs import REPORT, Run, find_runs, load_run
from optkit.pipeline.run_folder import is_run, write_atomic

RESULTS, CHART = "sweep.json", "frontier.svg"


@dataclass(frozen=True)
class Axis:
    """One value of a recipe and what it shall be, by turns."""

    path: str
    values: tuple[Any, ...]

    @classmethod
    def parse(cls, text: str) -> Axis:
        """An axis written as ``prune.0.schedule.to=[0.7, 0.8]``.

        Raises:
            RecipeError: if it is not written so.
        """
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        path, equals, written = text.partition("=")
        try:
            values = YAML(typ="safe", pure=True).load(written) if equals else None
        except YAMLError:
            values = None
        if not path.strip() or not isinstance(values, list) or not values:
            raise RecipeError(f"--grid {text}: expected PATH=[VALUE, VALUE], such as prune.0.schedule.to=[0.7, 0.8]")
        twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
        if twice is not None:
            raise RecipeError(f"--grid {path.strip()}: {twice} is there twice: write each value once")
        return cls(path.strip(), tuple(values))


@dataclass(frozen=True)
class Trial:
    """A run to do: its name, and what it changes in the recipe, as ``--set`` takes it."""

    name: str
    overrides: tuple[str, ...]
    hash: str


@dataclass
class Result:
    """What became of a trial: ``done``, ``failed`` with what was said last, or ``done before``."""

    name: str
    overrides: tuple[str, ...]
    status: str
    said: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return self.status != "failed"


def trials(recipe: Path, axes: Sequence[Axis], overrides: Sequence[str] = ()) -> list[Trial]:
    """Every combination of the values on ``axes``, the last axis changing fastest.

    Args:
        recipe: a recipe file.
        overrides: of every run, before those of the axes.

    Raises:
        RecipeError: if the recipe is wrong in one of them, all faults at once; for an axis that is there twice.
    """
    from optkit.recipe import load_recipe

    twice = [axis.path for i, axis in enumerate(axes) if axis.path in [other.path for other in axes[:i]]]
    if twice:
        raise RecipeError(f"--grid {twice[0]}: given twice: write one list")
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
    return [
        trial if names.count(trial.name) == 1 else Trial(f"{trial.name}-{i}", trial.overrides, trial.hash)
        for i, trial in enumerate(found)
    ]


def _of_grid(problem: str, paths: Sequence[str]) -> str:
    """What is wrong with a value that an axis set is the axis' fault, whatever the other values are."""
    said, _, excerpt = problem.partition("\n")
    return said.replace("--set", "--grid", 1) if any(f"| {path}=" in excerpt for path in paths) else problem


def _written(value: Any) -> str:
    """A value as YAML in one line; JSON is YAML."""
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.%-]*|\d+[x:]\d+", value)
    return value if plain else json.dumps(value)


def _word(value: Any) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", value if isinstance(value, str) else json.dumps(value)).strip("-.") or "none"


def _short_paths(paths: Sequence[str]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    for parts in range(1, max((path.count(".") + 1 for path in paths), default=1) + 1):
        short = [".".join(path.split(".")[-parts:]) for path in paths]
        if len(set(short)) == len(short):
            return [re.sub(r"[^A-Za-z0-9.]+", "-", name) for name in short]
    return [re.sub(r"[^A-Za-z0-9.]+", "-", path) for path in paths]


def is_done(folder: Path, trial: Trial) -> bool:
    """Whether the run in ``folder`` has finished what ``trial`` asks for."""
    return (folder / REPORT).is_file() and load_run(folder).report.get("recipe_hash") == trial.hash


def command(recipe: Path, trial: Trial, root: Path) -> list[str]:
    """The process that does ``trial``."""
    sets = [word for text in trial.overrides for word in ("--set", text)]
    folder = root / trial.name
    return [
        *(sys.executable, "-m", "optkit", "run", str(recipe), *sets),
        *("--output", str(folder), "--reuse", str(root)),
    ]


def sweep(
    recipe: Path,
    planned: Sequence[Trial],
    root: Path,
    launch: Callable[[Sequence[tuple[Trial, list[str]]]], Iterator[tuple[Trial, int, float]]],
    tell: Callable[[Result, int, int], None] = lambda result, done, total: None,
) -> list[Result]:
    """Does what of ``planned`` is not done yet, and keeps the results in ``sweep.json`` as they come.

    Args:
        root: the sweep's folder: a run's folder for each trial.
        launch: runs commands and gives each trial's exit code and seconds when it has ended, see ``workers``.
        tell: hears of each result, how many there are and of how many.

    Returns:
        results in the order of ``planned``.

    Raises:
        RecipeError: if ``root`` holds something else.
    """
    _claim(root)
    results: dict[str, Result] = {}

    def write() -> None:
        ordered = [results[trial.name] for trial in planned if trial.name in results]
        kept = {"recipe": str(recipe), "runs": [asdict(each) for each in ordered]}
        write_atomic(root / RESULTS, json.dumps(kept, indent=2) + "\n")

    def keep(result: Result) -> None:
        results[result.name] = result
        write()
        tell(result, len(results), len(planned))

    write()  # what is in the folder from now on is a sweep's
    waiting = []
    for trial in planned:
        if is_done(root / trial.name, trial):
            keep(Result(trial.name, trial.overrides, "done before", facts=_facts(load_run(root / trial.name))))
        else:
            waiting.append((trial, command(recipe.resolve(), trial, root.resolve())))
    for trial, code, seconds in launch(waiting):
        folder = root / trial.name
        # A model that lost more than it may is a result too: the run wrote its report, then failed.
        if is_done(folder, trial):
            said = "" if code == 0 else last_line(root / f"{trial.name}.log")
            keep(Result(trial.name, trial.overrides, "done", said, seconds, _facts(load_run(folder))))
        else:
            keep(Result(trial.name, trial.overrides, "failed", last_line(root / f"{trial.name}.log"), seconds))
    return [results[trial.name] for trial in planned]


def _claim(root: Path) -> None:
    """Makes the sweep's folder; one that is there has to be a sweep's, or to hold runs."""
    if root.exists() and not root.is_dir():
        raise RecipeError(f"{root}: is a file: choose another --output")
    held = list(root.iterdir()) if root.is_dir() else []
    if held and not (root / RESULTS).is_file() and not any(is_run(path) for path in held):
        raise RecipeError(f"{root}: is not empty and no sweep's folder: choose another --output")
    root.mkdir(parents=True, exist_ok=True)


def draw(root: Path) -> Frontier:
    """Writes the frontier of the sweep's finished runs beside them, and returns it.

    Raises:
        OptkitError: if none of them can be placed on one, or they do not compare.
    """
    found = frontier(find_runs([root]))
    write_atomic(root / CHART, chart(found))
    return found


def _facts(run: Run) -> dict[str, Any]:
    speedup = run.speedup()
    found = {"metric": run.metric, "score": run.score(), "drop": run.drop, "sparsity": run.sparsity}
    if speedup is not None:
        found |= {"speedup": speedup.ratio, "of": speedup.of, "against": speedup.against}
        found |= {"milliseconds": speedup.milliseconds}
    return found


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return "no log"
    return next((line for line in reversed(lines) if line), "nothing was said")
