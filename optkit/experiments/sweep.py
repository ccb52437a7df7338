"""Many runs of one recipe: every combination of some values, each a run of its own in a folder of the sweep.

A run is a process (`optkit run`), so one that fails or is killed leaves the others alone. Stages that several runs
share (the dense baseline, the teacher) are run by the first that needs them, and copied by the others. Finished runs
are not repeated: a sweep that was killed continues when it is started again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from optkit.errors import Interrupted, UsageError
from optkit.experiments.pareto import Frontier, chart, frontier
from optkit.experiments.runs import RESULTS, Run, find_runs, load_run
from optkit.experiments.trials import Axis, Trial, command, is_done, trials
from optkit.pipeline.run_folder import is_run, write_atomic
from optkit.progress import Reporter, duration
from optkit.variant import Variant

CHART = "frontier.svg"


@dataclass
class Result:
    """The outcome of a trial: ``done``, ``failed`` with the last line of its log, or ``done before``."""

    name: str
    overrides: tuple[str, ...]
    status: str
    said: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return self.status != "failed"

    def summary(self) -> str:
        """Status, points lost and speed in a line."""
        if not self.whole:
            return f"failed: {self.said}"
        parts = [self.status if not self.seconds else duration(self.seconds)]
        if self.facts["drop"] is not None:
            parts.append(f"{self.facts['drop']:.2f} points lost")
        if "speedup" in self.facts:
            parts.append(f"{self.facts['speedup']:.2f} times as fast as {Variant.parse(self.facts['against']).label}")
        return ", ".join([*parts, *([self.said] if self.said else [])])


def sweep(
    recipe: str | Path,
    grid: Mapping[str, Sequence[Any]] | Sequence[str],
    overrides: Sequence[str] = (),
    *,
    output: str | Path | None = None,
    jobs: int = 1,
    ray: bool = False,
    ray_address: str | None = None,
    quiet: bool = True,
) -> list[Result]:
    """Runs a recipe with every combination of some values; done runs are kept, failed ones do not stop the others.

    Args:
        recipe: a recipe file.
        grid: values by key, ``{"prune.0.schedule.to": [0.7, 0.8]}``, or texts such as ``"seed=[1, 2]"``.
        overrides: ``path.to.key=value`` texts for every run.
        output: the folder of the runs; ``sweeps/<name of the file>`` by default.
        jobs: runs at a time; each gets its share of the cores.
        ray: run on Ray, on this machine without ``ray_address``.
        ray_address: of a Ray cluster whose machines see ``output`` under the same path.
        quiet: print nothing.

    Returns:
        results in the order of the grid, the last key changing fastest.

    Raises:
        RecipeError: if the recipe is wrong with some of the values.
        UsageError: if an argument is wrong.
        OptkitError: if Ray cannot be reached.
        Interrupted: on ctrl-C; the same call continues the sweep.
    """
    from optkit.experiments.workers import Local, Ray

    recipe = Path(recipe)
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}: it is at least 1")
    planned = trials(recipe, Axis.of(grid), overrides)
    root = Path(output) if output is not None else Path("sweeps") / recipe.stem
    reporter = Reporter(quiet)
    reporter.say(f"{len(planned)} runs in {root}")

    def tell(result: Result, done: int, total: int) -> None:
        reporter.say(f"[{done}/{total}] {result.name}: {result.summary()}")

    launch: Local | Ray = Local(jobs, root)
    if ray or ray_address is not None:
        launch = Ray(ray_address, jobs, root.resolve())
    try:
        return run_trials(recipe, planned, root, launch, tell)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; run the same command again to continue") from None


def run_trials(
    recipe: Path,
    planned: Sequence[Trial],
    root: Path,
    launch: Callable[[Sequence[tuple[Trial, list[str]]]], Iterator[tuple[Trial, int, float]]],
    tell: Callable[[Result, int, int], None] = lambda result, done, total: None,
) -> list[Result]:
    """Runs those of ``planned`` that are not done yet, and writes each result into ``sweep.json`` as it comes.

    Args:
        root: the sweep's folder: a run's folder for each trial.
        launch: runs commands and yields each trial with its exit code and seconds when it has ended, see ``workers``.
        tell: called with each result, the number of results so far and that of all trials.

    Returns:
        results in the order of ``planned``.

    Raises:
        UsageError: if ``root`` holds something else.
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

    write()  # marks the folder as a sweep's
    waiting = []
    for trial in planned:
        if is_done(root / trial.name, trial):
            keep(Result(trial.name, trial.overrides, "done before", facts=_facts(load_run(root / trial.name))))
        else:
            waiting.append((trial, command(recipe.absolute(), trial, root.resolve())))
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
    """Creates the sweep's folder; one that exists has to be empty, a sweep's, or to hold runs."""
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root}: is a file: choose another --output")
    held = list(root.iterdir()) if root.is_dir() else []
    if held and not (root / RESULTS).is_file() and not any(is_run(path) for path in held):
        raise UsageError(f"{root}: is neither empty nor the folder of a sweep: choose another --output")
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
        found |= {"speedup": speedup.ratio, "of": speedup.of.id, "against": speedup.against.id}
        found |= {"milliseconds": speedup.milliseconds}
    return found


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return "no log"
    return next((line for line in reversed(lines) if line), "the log is empty")
