"""`optkit run` on bad input: one line with the cause and the way out, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from optkit.adapters import checkpointing, passes, trainer
from optkit.pipeline.run_folder import RunDir

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fails(files_recipe, optkit_cli, tmp_path):
    """Runs ``files_recipe`` with these --set up to the training, which must fail in one line; returns code and line."""

    def run(*changes: str, output: Path = tmp_path / "run", stop_after: str = "train") -> tuple[int, str]:
        more = [word for change in changes for word in ("--set", change)]
        arguments = ("run", files_recipe, "--output", output, "--stop-after", stop_after, "--quiet", *more)
        code, out, err = optkit_cli(*arguments)
        assert out == "" and err.endswith("\n") and err.count("\n") == 1, err
        return code, err.rstrip("\n").replace(str(tmp_path), "TMP")

    return run


@pytest.fixture
def succeeds(files_recipe, optkit_cli, tmp_path):
    """Runs ``files_recipe`` up to the training and returns what the manifest tells of it."""

    def run(output: Path = tmp_path / "run") -> dict:
        code, _, err = optkit_cli("run", files_recipe, "--output", output, "--stop-after", "train", "--quiet")
        assert code == 0, err
        return json.loads((output / "manifest.json").read_text())["stages"]["train"]["facts"]

    return run


@pytest.fixture(scope="module")
def whole(files_recipe, optkit_cli, tmp_path_factory) -> bytes:
    """The weights that an uninterrupted run of ``files_recipe`` ends with."""
    output = tmp_path_factory.mktemp("whole")
    assert optkit_cli("run", files_recipe, "--output", output, "--stop-after", "train", "--quiet").code == 0
    return (output / "pruned" / "model.safetensors").read_bytes()


def weights(output: Path) -> bytes:
    return (output / "pruned" / "model.safetensors").read_bytes()


def table(path: Path, rows: list[str], header: str = "sentence\tlabel") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def checkpoint(tiny_checkpoint: Path, to: Path, labels: list[str] | None = None) -> Path:
    """A copy of the tiny checkpoint, with labels of its own."""
    shutil.copytree(tiny_checkpoint, to)
    if labels:
        config = json.loads((to / "config.json").read_text())
        config |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
        (to / "config.json").write_text(json.dumps(config))
    return to


def test_a_missing_recipe(optkit_cli, tmp_path):
    code, out, err = optkit_cli("run", tmp_path / "none.yaml")
    assert (code, out, err.count("\n")) == (2, "", 1) and f"{tmp_path}/none.yaml: no such file" in err


def test_an_unknown_stage(fails, tmp_path):
    code, line = fails(stop_after="trian")
    assert code == 2 and line.startswith("--stop-after: unknown stage 'trian', one of plan, dense, teacher, ")
    assert not (tmp_path / "run").exists()


def test_a_missing_data_file(fails, tmp_path):
    missing = tmp_path / "none.tsv"
    code, line = fails(f"task.dataset.files.train={missing}")
    assert (code, line) == (2, "TMP/none.tsv: no such file: correct task.dataset.files")


def test_a_column_that_is_not_there(fails):
    code, line = fails("task.text=sentense")
    assert code == 2 and "'sentense'" in line and "sentence, label" in line


def test_a_label_that_is_no_class(fails, tmp_path):
    train = table(tmp_path / "train.tsv", ["good\tpos", "bad\tneg"] * 48)
    dev = table(tmp_path / "dev.tsv", ["good\tpos", "so so\tneutral"])
    code, line = fails(f"task.dataset.files={{train: {train}, validation: {dev}}}")
    assert code == 2 and "validation" in line and "'neutral'" in line and "row 2" in line


def test_the_hub_cannot_be_reached(fails):
    code, line = fails("model.name=nobody/nothing-here")
    assert code == 1 and line == (
        "model.name: no folder nobody/nothing-here, and the Hub can't be reached (HF_HUB_OFFLINE is set): give a local "
        "folder with --set model.name=FOLDER"
    )
    code, line = fails("task.dataset={name: nobody/no-data}")
    assert code == 1 and line.startswith(
        "task.dataset.name: 'nobody/no-data' is not cached and the Hub can't be reached"
    )


def test_a_teacher_folder_that_is_missing(fails, tmp_path):
    code, line = fails(f"distill={{teacher: {tmp_path}/no/teacher}}")
    assert (code, line) == (
        2,
        "distill.teacher: no folder TMP/no/teacher: give a local folder with --set distill.teacher=FOLDER",
    )


def test_a_teacher_with_other_labels(fails, tiny_checkpoint, tmp_path):
    train = table(tmp_path / "train.tsv", ["good\tpos", "bad\tneg"] * 48)
    teacher = checkpoint(tiny_checkpoint, tmp_path / "teacher", ["yes", "no"])
    code, line = fails(f"distill={{teacher: {teacher}}}", f"task.dataset.files={{train: {train}, validation: {train}}}")
    assert code == 2 and line.startswith(
        "distill.teacher: TMP/teacher has the labels yes, no, and the data neg, pos: use one that was"
    )


def test_a_teacher_that_gives_nan(fails, tiny_checkpoint, tmp_path):
    teacher = checkpoint(tiny_checkpoint, tmp_path / "teacher")
    state = load_file(teacher / "model.safetensors")
    state["classifier.bias"][0] = torch.nan
    save_file(state, teacher / "model.safetensors", metadata={"format": "pt"})
    code, line = fails(f"distill={{teacher: {teacher}}}")
    assert (code, line) == (1, "distill.teacher: TMP/teacher gives NaN or infinite logits: use another")
    assert not (tmp_path / "run" / "teacher").exists()


def test_a_plan_that_cannot_work_tells_every_reason(files_recipe, optkit_cli, tmp_path):
    changes = ("--set", "prune.encoder.structure=5x3", "--set", "prune.encoder.schedule.end=99")
    code, out, err = optkit_cli("run", files_recipe, "--output", tmp_path / "run", "--quiet", *changes)
    assert (code, out) == (2, "")
    assert "prune.0.schedule: the schedule ends at step 99, after the training's last step 12" in err
    assert "prune.0: rule 'encoder': bert.encoder.layer.0.attention.self.query.weight:" in err


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("prune=null", "the loss is NaN or infinite at step "),
        ("prune.encoder.schedule.every=1", "scores hold NaN: training has diverged; "),
    ],
)
def test_the_learning_rate_is_too_high(fails, succeeds, whole, tmp_path, rules, said):
    code, line = fails("train.learning_rate=1e30", "train.max_grad_norm=0", "train.save_steps=1", rules)
    assert code == 1 and line.startswith(said) and "lower train.learning_rate" in line
    for saved in checkpointing.whole_checkpoints(tmp_path / "run" / "checkpoints"):
        assert all(torch.isfinite(tensor).all() for tensor in load_file(saved / "model.safetensors").values())
    assert not (tmp_path / "run" / "pruned").exists()
    # With the rate corrected it begins anew, and what went wrong is set aside.
    assert succeeds()["resumed_at"] == 0 and weights(tmp_path / "run") == whole
    assert (tmp_path / "run" / "stale" / "checkpoints-1").is_dir()


class Full:
    """Stands in for a function that saves; from its second call on the disk is full."""

    def __init__(self, original, error):
        self.original, self.error, self.calls = original, error, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls > 1:
            Path(args[1]).write_bytes(b"half")
            raise self.error
        return self.original(*args, **kwargs)


@pytest.mark.parametrize("library", ["safetensors", "torch"])
def test_a_full_disk(library, fails, succeeds, whole, monkeypatch, tmp_path):
    from transformers import modeling_utils

    if library == "safetensors":
        error = OSError("Error while serializing: I/O error: No space left on device (os error 28)")
        monkeypatch.setattr(modeling_utils, "safe_save_file", Full(modeling_utils.safe_save_file, error))
    else:  # the first checkpoint has four files of it
        error = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")
        full = Full(torch.save, error)
        full.calls = -3
        monkeypatch.setattr(torch, "save", full)
    assert fails() == (
        1,
        "TMP/run: the disk is full; finished stages are kept: free some space and run the same command again",
    )
    kept = checkpointing.whole_checkpoints(tmp_path / "run" / "checkpoints")
    assert [folder.name for folder in kept] == ["checkpoint-3"]
    monkeypatch.undo()
    assert succeeds()["resumed_at"] == 3 and weights(tmp_path / "run") == whole


def test_a_disk_too_small_for_the_plan(fails, monkeypatch):
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    code, line = fails()
    assert code == 2 and line.startswith("TMP/run: the run needs about ") and " of disk and 1.0 kB are free" in line


def test_control_c(fails, succeeds, whole, monkeypatch, tmp_path):
    heard = trainer.Watch.on_step_end

    def press(self, args, state, control, **kwargs):
        heard(self, args, state, control, **kwargs)
        if state.global_step == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Watch, "on_step_end", press)
    assert fails() == (
        130,
        "interrupted; the last whole checkpoint is TMP/run/checkpoints/checkpoint-6; run the same command again to go on",
    )
    monkeypatch.undo()
    assert succeeds()["resumed_at"] == 6 and weights(tmp_path / "run") == whole


def test_control_c_while_the_baseline_is_trained(fails, monkeypatch):
    def press(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Watch, "on_step_end", press)
    code, line = fails("evaluate.baseline=trained")
    assert code == 130 and "the last whole checkpoint is TMP/run/checkpoints-dense/checkpoint-3;" in line


def test_control_c_before_any_checkpoint_of_the_training(fails, monkeypatch):
    """The baseline's checkpoints are there, and say nothing about the pruned model's training."""

    def press(self, args, state, control, model, **kwargs):
        if any(name.endswith("weight_mask") for name in model.state_dict()):
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Watch, "on_step_end", press)
    said = "interrupted; no checkpoint is whole yet; run the same command again to go on"
    assert fails("evaluate.baseline=trained") == (130, said)


def test_control_c_outside_of_training(fails, monkeypatch):
    def press(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(passes, "time_steps", press)
    assert fails() == (130, "interrupted; finished stages are kept; run the same command again to go on")


def test_control_c_does_not_load_torch_again():
    """Its import may be what was interrupted, and torch does not stand a second one."""
    code = """
import sys
from pathlib import Path
from optkit.pipeline import runner
from optkit.errors import Interrupted

class Folder:
    path = Path("run")

try:
    with runner._one_line(Folder, "checkpoints"):
        raise KeyboardInterrupt
except Interrupted as error:
    print(error, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = "interrupted; no checkpoint is whole yet; run the same command again to go on False"
    assert done.stdout.strip() == said


def test_half_written_checkpoints_are_passed_over(succeeds, whole, tmp_path):
    output = tmp_path / "run"
    succeeds()
    shutil.rmtree(output / "pruned")
    shutil.copytree(output / "checkpoints" / "checkpoint-9", output / "checkpoints" / "checkpoint-99")
    (output / "checkpoints" / "checkpoint-99" / checkpointing.MARKER).unlink()
    with (output / "checkpoints" / "checkpoint-12" / "optimizer.pt").open("r+b") as file:
        file.truncate(100)
    assert succeeds()["resumed_at"] == 9 and weights(output) == whole


def test_another_recipes_folder(fails, tmp_path):
    with RunDir(tmp_path / "run", "other"):
        pass
    assert fails() == (2, "TMP/run: holds a run of recipe 'other', not of 'files': choose another --output")


def test_a_corrupt_manifest(fails, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text('{"format": 1, "reci')
    assert fails() == (
        1,
        "TMP/run/manifest.json: not a manifest that this optkit can read: move the folder away, or use --output",
    )


def test_two_at_once(fails, tmp_path):
    with RunDir(tmp_path / "run", "files"):
        assert fails() == (1, "TMP/run: another optkit is at work here: wait for it, or choose --output")


def test_a_lock_ends_with_its_process(tmp_path):
    code = f"""
import os, signal
from optkit.pipeline.run_folder import RunDir
RunDir({str(tmp_path / "run")!r}, "files").__enter__()
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -9
    with RunDir(tmp_path / "run", "files") as run:
        assert run.entry("train") is None


def test_an_error_within_the_training_leaves_no_half_stage(fails, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise ValueError("a bug")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", fail)
    code, line = fails()
    assert (code, line) == (1, "unexpected ValueError: a bug (run again with --debug for the traceback)")
    assert not list((tmp_path / "run").glob(".tmp-*")) and not (tmp_path / "run" / "pruned").exists()
