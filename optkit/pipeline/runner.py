"""Runs the stages in their order. One that finished before with an equal key is skipped.

Of several processes the first does all this, and calls the others to the stages that train.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.checkpoints.markers import whole_checkpoints
from optkit.errors import Interrupted, OptkitError, UsageError
from optkit.json_files import read_json
from optkit.machine import RESULT_PACKAGES, describe, versions
from optkit.pipeline.order import STAGES, connect, new_context
from optkit.pipeline.run_folder import RunDir, StageOutput, build_lock, is_run, reusable_runs, write_atomic
from optkit.progress import Reporter, duration
from optkit.ranks import Team
from optkit.recipe import Recipe, load_recipe
from optkit.report.labels import baseline_name
from optkit.report.precision import HINT, needs_hint
from optkit.report.reading import parse_report

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.stage import Stage


def run(
    recipe: Recipe | str | Path,
    overrides: Sequence[str] = (),
    *,
    output: str | Path | None = None,
    stop_after: str | None = None,
    fresh: bool = False,
    reuse: Sequence[str | Path] = (),
    quiet: bool = True,
) -> dict[str, Any]:
    """Does what ``recipe`` says, as far as it is not done yet.

    Where torchrun or accelerate started several processes, every one of them calls this: all train, and what is not
    training the first does alone. What is returned or raised is the same in each.

    Args:
        recipe: a recipe file, or a Recipe.
        overrides: ``path.to.key=value`` texts, as ``--set`` takes them; only for a file.
        output: the run folder; ``runs/<name>`` by default.
        stop_after: the last stage to run, one of ``STAGES``.
        fresh: set aside what is done and start over.
        reuse: folders of other runs, or of many of them; a stage that one made from the same inputs is copied.
        quiet: print nothing.

    Returns:
        the report, as report.json holds it; without ``evaluate`` in it when stopped before the report.

    Raises:
        RecipeError: if the recipe or the data is wrong.
        UsageError: if an argument is wrong.
        OptkitError: if a stage failed. A model that lost more than ``evaluate.max_drop`` is told by the report, and
            refused by ``enforce_max_drop``.
        Interrupted: on ctrl-C.
    """
    team = Team()
    with team.run():
        if isinstance(recipe, (str, Path)):
            recipe = load_recipe(recipe, overrides)
        elif overrides:
            raise UsageError("overrides need a recipe file: change the Recipe itself")
        if stop_after is not None and stop_after not in STAGES:
            raise UsageError(f"--stop-after: unknown stage '{stop_after}', one of {', '.join(STAGES)}")
        path = Path(output) if output else Path("runs") / recipe.name
        if team.leads:
            with RunDir(path, recipe.name) as folder, _one_line(folder):
                if fresh:
                    folder.start_over()
                for other in reuse:
                    reusable_runs(Path(other), path)
                _run_stages(recipe, folder, Reporter(quiet), team, stop_after, [Path(run) for run in reuse])
        else:
            _join(recipe, path, team)
    if stop_after is not None and STAGES.index(stop_after) < STAGES.index("report"):
        return {"name": recipe.name, "stopped_after": stop_after, "output": str(path)}
    report = read_json(path / "report.json")
    report["output"] = str(path)
    # The run may have been moved since it wrote them.
    report["folders"] |= {name: str(path / name) for name in report["folders"] if (path / name).is_dir()}
    return report


def enforce_max_drop(report: dict[str, Any]) -> None:
    """Raises OptkitError if the exported model lost more than the recipe allows."""
    if report.get("evaluate", {}).get("within_max_drop", True):
        return
    found = parse_report(report)
    evaluated, hinted = found.evaluate, ""
    if needs_hint(evaluated) and evaluated.precision:
        default, difference = evaluated.precision.default, evaluated.precision.difference
        hinted = f" at OpenVINO's default precision, {default} ({difference:.2f} less with {HINT})"
    raise OptkitError(
        f"{report['output']}: the exported model is {evaluated.drop:.2f} points below the {baseline_name(found)}"
        f"{hinted}, evaluate.max_drop allows {evaluated.max_drop:g}: prune less, train longer, or raise it"
    )


def _run_stages(
    recipe: Recipe,
    folder: RunDir,
    reporter: Reporter,
    team: Team,
    stop_after: str | None,
    reuse: Sequence[Path],
) -> None:
    write_atomic(folder.path / "recipe.resolved.yaml", recipe.resolved_yaml())
    exports = stop_after in (None, "plan") or STAGES.index(stop_after) >= STAGES.index("export")
    context = new_context(recipe, folder, reporter, team, exports=exports)
    if team.size > 1:
        team.gather(recipe.hash())
        _connect(context)
    here = (versions(RESULT_PACKAGES), describe())
    for number, stage in enumerate(context.stages, 1):
        if stage.is_needed(context):
            with _one_line(folder, stage.checkpoints):
                _run_stage(stage, context, f"[{number}/{len(STAGES)}] {stage.name}", reuse, *here)
        if stage.name == stop_after:
            return


def _connect(context: RunContext) -> None:
    """Makes one group of all processes, before anything asks torch which of them it is."""
    with context.team.together("connect"):
        connect(context.recipe.train)


def _join(recipe: Recipe, path: Path, team: Team) -> None:
    """The part of a process that does not lead: the stages it is called to."""
    context = new_context(recipe, None, Reporter(quiet=True), team)

    def work(name: str) -> None:
        if name == "connect":
            return _connect(context)
        context.run = RunDir(path, recipe.name)  # not entered: the lock is the leader's
        return context.stages[STAGES.index(name)].run(context, StageOutput(name, path))

    team.follow(recipe.hash(), work)


def _other_versions(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The packages of a finished stage that have another version now; empty if there is none."""
    return ", ".join(f"{name} {own} ({now[name]} now)" for name, own in then.items() if now.get(name, own) != own)


def _run_stage(
    stage: Stage,
    context: RunContext,
    title: str,
    reuse: Sequence[Path],
    installed: dict[str, str],
    machine: dict[str, Any],
) -> None:
    key, run = stage.key(context), context.run
    if run.is_done(stage.name, key, stage.output_paths(context)):
        context.reporter.say(f"{title}: done before, skipped")
        if other := _other_versions(run.entry(stage.name)["versions"], installed):
            context.reporter.say(f"  with other versions than those installed: {other}")
        return
    with ExitStack() as locks:
        for shared in (path for path in reuse if stage.folder and not is_run(path)):
            what = f"{stage.name}-{key[:16]}"
            locks.enter_context(build_lock(shared, what, lambda said: context.reporter.say(f"{title}: {said}")))
        for other in (other for path in reuse if stage.folder for other in reusable_runs(path, run.path)):
            if run.borrow(other, stage.name, key, stage.folder):
                context.reporter.say(f"{title}: copied from {other}")
                return
        context.reporter.say(title)
        with run.writing(stage.name, key, stage.folder, installed, machine) as output:
            stage.run(context, output)
        context.reporter.say(f"{title}: {duration(run.entry(stage.name)['seconds'])}")


@contextmanager
def _one_line(folder: RunDir, checkpoints: str | None = None) -> Iterator[None]:
    """Turns ctrl-C and a full disk into one line with the way out; what is complete stays.

    Args:
        checkpoints: of the training that goes on within, in the run's folder.
    """
    try:
        yield
    except KeyboardInterrupt:
        kept = _last_checkpoint(folder.path / checkpoints) if checkpoints else "finished stages are kept"
        raise Interrupted(f"interrupted; {kept}; run the same command again to go on") from None
    except Exception as error:
        if not _disk_is_full(error):
            raise
        raise OptkitError(
            f"{folder.path}: the disk is full; finished stages are kept: free some space and run the same command again"
        ) from error


def _last_checkpoint(folder: Path) -> str:
    whole = whole_checkpoints(folder)
    return f"the last whole checkpoint is {whole[-1]}" if whole else "no checkpoint is whole yet"


#: All that safetensors, OpenVINO and the two halves of torch.save say when they cannot write.
_FULL = ("No space left on device", "iostream error", "PytorchStreamWriter failed writing", "inline_container.cc")


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind ``error``: libraries in C++ and Rust say it in words only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in _FULL) and "PytorchStreamReader" not in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
