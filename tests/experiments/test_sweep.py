"""A sweep: what it does, keeps and shares, and how it fails."""

from __future__ import annotations

import json
import sys
import time

import capabilities
import pytest
from reports import write_run

from optkit.errors import UsageError
from optkit.experiments import workers
from optkit.experiments.runs import find_runs
from optkit.experiments.sweep import draw, run_trials
from optkit.experiments.trials import Axis, Trial, trials
from optkit.experiments.workers import Local, Ray, shares
from optkit.recipe import load_recipe

GRID = ("--grid", "prune.encoder.schedule.to=[0.5, 0.8]", "--grid", "prune.encoder.structure=[1x4, element]")
NAMES = ["to-0.5_structure-1x4", "to-0.5_structure-element", "to-0.8_structure-1x4", "to-0.8_structure-element"]


def test_every_combination_has_a_name_and_a_recipe(generated_recipe):
    axes = [Axis.parse(text) for text in GRID if text != "--grid"]
    planned = trials(generated_recipe, axes, ["seed=3"])
    assert [trial.name for trial in planned] == NAMES
    assert planned[1].overrides == ("seed=3", "prune.encoder.schedule.to=0.5", "prune.encoder.structure=element")
    assert len({trial.hash for trial in planned}) == 4
    alike = trials(generated_recipe, [Axis.parse("prune.encoder.targets=['*.query', '*query*']")])
    assert [trial.name for trial in alike] == ["targets-query-0", "targets-query-1"]
    deep = trials(generated_recipe, [Axis.parse("evaluate.max_drop=[1]"), Axis.parse("quantize.max_drop=[2]")])
    assert [trial.name for trial in deep] == ["evaluate.max-drop-1_quantize.max-drop-2"]


def test_values_are_read_as_in_recipes(generated_recipe):
    axis = Axis.parse("model.revision=[2024-01-01, 0123, 3e-5, yes]")
    assert axis.values == ("2024-01-01", "0123", 3e-5, "yes")
    first, second, *_ = trials(generated_recipe, [axis])
    assert second.overrides == ('model.revision="0123"',) and first.name == "revision-2024-01-01"


def test_no_two_runs_have_one_folder(generated_recipe):
    alike = trials(generated_recipe, [Axis.parse('prune.encoder.targets=["*.key", "?.key", "*.key-1"]')])
    assert [trial.name for trial in alike] == ["run-0", "run-1", "run-2"]
    rule = "{name: encoder, targets: encoder_linear, criterion: magnitude, structure: 1x4, schedule: {shape: cubic, to: 0.5}}"
    long = trials(generated_recipe, [Axis.parse(f"prune=[[{rule}], []]"), Axis.parse("seed=[1, 2]")])
    assert [trial.name for trial in long] == ["run-0", "run-1", "run-2", "run-3"]


@pytest.mark.parametrize("text", ["prune.0.schedule.to", "=[1]", "a=1", "a=[]", "a=[1", "a={b: 1}"])
def test_an_axis_that_is_none(text):
    with pytest.raises(UsageError, match="expected PATH="):
        Axis.parse(text)


def test_wrong_values_are_told_before_anything_runs(generated_recipe, optkit_cli, tmp_path):
    grid = "prune.encoder.schedule.to=[0.5, 1.5, 7]"
    printed = optkit_cli("sweep", generated_recipe, "--grid", grid, "--output", tmp_path / "sweep")
    assert printed.code == 2 and "1.5" in printed.err and "7" in printed.err
    assert not (tmp_path / "sweep").exists()
    printed = optkit_cli("sweep", generated_recipe, "--grid", "seed=[1]", "--grid", "seed=[2]")
    assert (printed.code, printed.err) == (2, "--grid seed: given twice: write one list\n")
    printed = optkit_cli("sweep", generated_recipe, "--grid", "seed=[1, 2, 1]")
    assert (printed.code, printed.err) == (2, "--grid seed: 1 is given twice: write each value once\n")
    printed = optkit_cli("sweep", generated_recipe, "--grid", "sede=[1, 2]")
    assert printed.code == 2 and printed.err.startswith("--grid: sede: unknown key, ") and printed.err.count("\n") == 1


def test_a_folder_that_holds_something_else_is_left_alone(generated_recipe, optkit_cli, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    printed = optkit_cli("sweep", generated_recipe, "--grid", "seed=[1, 2]", "--output", tmp_path)
    said = f"{tmp_path}: is neither empty nor the folder of a sweep: choose another --output\n"
    assert (
        printed.code == 2 and printed.err.endswith(said) and [path.name for path in tmp_path.iterdir()] == ["note.txt"]
    )
    printed = optkit_cli("sweep", generated_recipe, "--grid", "seed=[1, 2]", "--output", tmp_path / "note.txt")
    assert printed.code == 2 and printed.err.endswith(f"{tmp_path / 'note.txt'}: is a file: choose another --output\n")


def test_runs_of_a_linked_recipe_have_its_name(generated_recipe, tmp_path):
    unnamed = tmp_path / "v3.yaml"
    unnamed.write_text("\n".join(li for li in generated_recipe.read_text().split("\n") if not li.startswith("name:")))
    linked = tmp_path / "latest.yaml"
    linked.symlink_to(unnamed)
    (trial,), work = trials(linked, [Axis.parse("seed=[1]")]), []
    run_trials(linked, [trial], tmp_path / "sweep", lambda waiting: work.extend(waiting) or [(trial, 1, 0.0)], print)
    ((_, command),) = work
    asked = command[command.index("run") + 1]
    assert load_recipe(asked, trial.overrides).hash() == trial.hash


def test_a_sweep_that_was_killed_before_its_first_result_goes_on(generated_recipe, tmp_path):
    planned = trials(generated_recipe, [Axis.parse("seed=[1, 2]")])

    def killed(work):
        (tmp_path / "sweep" / f"{work[0][0].name}.log").write_text("begun")
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        run_trials(generated_recipe, planned, tmp_path / "sweep", killed)

    def launch(work):
        for trial, _ in work:
            written(tmp_path / "sweep", trial)
            yield trial, 0, 1.0

    assert [result.status for result in run_trials(generated_recipe, planned, tmp_path / "sweep", launch)] == [
        "done"
    ] * 2


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(workers, "cpu_quota", lambda: 8.5)  # cores that a container may use, of however many
    assert shares(3)["OMP_NUM_THREADS"] == "2" and shares(99)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert "OMP_NUM_THREADS" not in shares(2)


def written(root, trial, drop=1.0):
    """What `optkit run` would leave."""
    write_run(root / trial.name, drop, recipe_hash=trial.hash)


def test_results_are_kept_as_they_come_and_not_made_again(generated_recipe, tmp_path):
    root = tmp_path / "sweep"
    planned = trials(generated_recipe, [Axis.parse("prune.encoder.schedule.to=[0.5, 0.6, 0.7]")])
    launched = []

    def launch(work):
        for trial, words in work:
            launched.append(trial.name)
            assert words[-4:] == ["--output", str(root / trial.name), "--reuse", str(root)]
            if trial is planned[1]:
                (root / f"{trial.name}.log").write_text("much\nthe last thing said\n\n")
                yield trial, 1, 2.0
            else:
                written(root, trial)
                yield trial, 0, 1.0
            kept = json.loads((root / "sweep.json").read_text())["runs"]
            assert [run["name"] for run in kept] == launched

    results = run_trials(generated_recipe, planned, root, launch)
    assert [(r.status, r.said) for r in results] == [("done", ""), ("failed", "the last thing said"), ("done", "")]
    assert results[0].facts["speedup"] == 2.0 and not results[1].facts

    def again(work):
        assert [trial for trial, _ in work] == [planned[1]]
        written(root, planned[1])
        # It lost more than it may, and said so.
        (root / f"{planned[1].name}.log").write_text("1.00 points lost, 0.5 allowed\n")
        yield planned[1], 1, 2.0

    results = run_trials(generated_recipe, planned, root, again)
    assert [r.status for r in results] == ["done before", "done", "done before"]
    assert results[1].said == "1.00 points lost, 0.5 allowed"


def test_a_run_that_failed_is_on_no_frontier(generated_recipe, tmp_path):
    root = tmp_path / "sweep"
    planned = trials(generated_recipe, [Axis.parse("prune.encoder.schedule.to=[0.5, 0.6]")])

    def launch(work):
        written(root, planned[0])
        yield planned[0], 0, 1.0
        write_run(root / planned[1].name, 0.1, ours=1.0, recipe_hash="former")  # as an earlier recipe left it
        (root / f"{planned[1].name}.log").write_text("it failed\n")
        yield planned[1], 1, 1.0

    run_trials(generated_recipe, planned, root, launch)
    assert [point.run.name for point in draw(root).points] == [planned[0].name]
    assert [run.name for run in find_runs([root])] == [planned[0].name]
    (root / "sweep.json").write_text(json.dumps({"runs": [{"name": t.name, "status": "failed"} for t in planned]}))
    with pytest.raises(UsageError, match="every run failed: read the logs there"):
        find_runs([root])
    (root / "sweep.json").write_text("[1, {")
    assert len(find_runs([root])) == 2


def test_processes_run_side_by_side_and_their_words_are_kept(tmp_path):
    work = [(Trial(str(code), (), ""), [sys.executable, "-c", f"print({code}); exit({code})"]) for code in range(4)]
    ended = {trial.name: code for trial, code, _ in Local(2, tmp_path)(work)}
    assert ended == {str(code): code for code in range(4)}
    assert [(tmp_path / f"{code}.log").read_text() for code in range(4)] == ["0\n", "1\n", "2\n", "3\n"]


def test_an_interrupt_ends_every_process(tmp_path):
    ready = tmp_path / "ready"
    code = f"import time, pathlib; pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
    work = [(Trial("quick", (), ""), [sys.executable, "-c", ""]), (Trial("slow", (), ""), [sys.executable, "-c", code])]
    local = Local(2, tmp_path)
    ended = local(work)
    next(ended)
    while not ready.exists():
        time.sleep(0.05)
    with pytest.raises(KeyboardInterrupt):
        ended.throw(KeyboardInterrupt())
    assert not local._running


@pytest.mark.slow
def test_runs_that_share_a_baseline_make_it_once(generated_recipe, optkit_cli, tmp_path):
    root = tmp_path / "sweep"
    grid, sets = "prune.encoder.schedule.to=[0.5, 0.8]", ("--set", "benchmark=null")
    printed = optkit_cli("sweep", generated_recipe, "--grid", grid, "--output", root, *sets, "--jobs", "2")
    assert printed.code == 0, printed.err
    logs = [(root / f"to-{to}.log").read_text() for to in (0.5, 0.8)]
    assert sum("dense: copied from" in log for log in logs) == 1
    weights = [(root / f"to-{to}" / "dense" / "model.safetensors").read_bytes() for to in (0.5, 0.8)]
    assert weights[0] == weights[1]
    stamps = [path.stat().st_mtime_ns for path in sorted(root.glob("*/report.json"))]
    again = optkit_cli("sweep", generated_recipe, "--grid", grid, "--output", root, *sets)
    assert again.code == 0 and again.err.count("done before") == 2
    assert [path.stat().st_mtime_ns for path in sorted(root.glob("*/report.json"))] == stamps


@pytest.mark.slow
def test_the_same_on_ray(tmp_path):
    """A cluster of two workers on this machine, started here as `--ray` starts one without an address."""
    ray = capabilities.package("ray")
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    try:
        code = "import os, sys; print(os.environ['OMP_NUM_THREADS']); sys.exit(int(sys.argv[1]))"
        work = [(Trial(str(i), (), ""), [sys.executable, "-c", code, str(i)]) for i in range(3)]
        ended = {trial.name: status for trial, status, _ in Ray(None, 2, tmp_path)(work)}
        assert ended == {"0": 0, "1": 1, "2": 2}
        assert [(tmp_path / f"{i}.log").read_text() for i in range(3)] == ["1\n"] * 3
    finally:
        ray.shutdown()


def test_ray_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="Ray is not installed: pip install 'optkit\\[ray\\]'"):
        Ray(None, 1, tmp_path)
