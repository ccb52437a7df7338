"""A run folder holds whole stages or none, belongs to one recipe and one process, and throws nothing away."""

from __future__ import annotations

import json
import os

import pytest

from optkit.errors import OptkitError, RecipeError
from optkit.rundir import RunDir, digest, write_atomic


def write(run: RunDir, stage: str, key: str, text: str = "", **facts) -> None:
    with run.writing(stage, key, stage, {"torch": "2"}) as work:
        (work.folder / "file").write_text(text)
        work.facts |= facts


def test_digest_is_of_the_facts_alone():
    assert digest({"a": 1, "b": [2.5, None]}) == digest({"b": [2.5, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2}) != digest({"a": "2"})
    assert len(digest({})) == 64


def test_write_atomic_keeps_the_old_text_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_atomic(path, "new")
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_finished_stage_is_remembered(tmp_path):
    with RunDir(tmp_path / "runs" / "r", "r") as run:
        assert not run.is_done("train", "k", ["train"]) and run.facts("train") == {}
        write(run, "train", "k", "weights", steps=3)
    again = RunDir(tmp_path / "runs" / "r", "r")
    assert again.is_done("train", "k", ["train"])
    assert not again.is_done("train", "other", ["train"]) and not again.is_done("export", "k", ["train"])
    assert again.facts("train") == {"steps": 3} and again.entry("train")["versions"] == {"torch": "2"}
    (tmp_path / "runs" / "r" / "train" / "file").unlink()
    (tmp_path / "runs" / "r" / "train").rmdir()
    assert not again.is_done("train", "k", ["train"]) and again.is_done("train", "k", [])


def test_a_stage_that_fails_leaves_the_old_one(tmp_path):
    with RunDir(tmp_path / "r", "r") as run:
        write(run, "train", "k", "old")
        with pytest.raises(ZeroDivisionError):
            with run.writing("train", "k2", "train", {}) as work:
                (work.folder / "file").write_text("new")
                raise ZeroDivisionError
        assert run.is_done("train", "k", ["train"]) and (tmp_path / "r" / "train" / "file").read_text() == "old"
        assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [".lock", "manifest.json", "train"]


def test_what_is_replaced_gets_a_number_of_its_own(tmp_path):
    with RunDir(tmp_path / "r", "r") as run:
        for text in ("first", "second", "third"):
            write(run, "train", text, text)
        stale = tmp_path / "r" / "stale"
        assert {p.name: (p / "file").read_text() for p in stale.iterdir()} == {"train-1": "first", "train-2": "second"}
        assert (tmp_path / "r" / "train" / "file").read_text() == "third"
        run.retire(tmp_path / "r" / "nothing")
        assert len(list(stale.iterdir())) == 2


def test_killed_between_the_new_folder_and_the_manifest_it_is_not_taken_for_the_old_one(tmp_path, monkeypatch):
    with RunDir(tmp_path / "r", "r") as run:
        write(run, "train", "old", "old")
    replace = os.replace

    def die_after_the_folder(source, target):
        replace(source, target)
        if os.path.basename(target) == "train":
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die_after_the_folder)
    with pytest.raises(KeyboardInterrupt), RunDir(tmp_path / "r", "r") as run:
        write(run, "train", "new", "new")
    monkeypatch.undo()
    with RunDir(tmp_path / "r", "r") as run:
        assert (tmp_path / "r" / "train" / "file").read_text() == "new"
        assert not run.is_done("train", "old", ["train"]) and not run.is_done("train", "new", ["train"])


def test_start_over_sets_stages_aside(tmp_path):
    with RunDir(tmp_path / "r", "r") as run:
        write(run, "train", "k")
        (tmp_path / "r" / "report.json").write_text("{}")
        run.start_over()
        assert run.entry("train") is None
    assert {p.name for p in (tmp_path / "r" / "stale").iterdir()} == {"train-1"}
    assert json.loads((tmp_path / "r" / "manifest.json").read_text())["stages"] == {}


def test_leftovers_of_a_kill_are_swept_up(tmp_path):
    with RunDir(tmp_path / "r", "r"):
        pass
    (tmp_path / "r" / ".tmp-train").mkdir()
    (tmp_path / "r" / ".tmp-train" / "half").write_text("")
    with RunDir(tmp_path / "r", "r"):
        assert not (tmp_path / "r" / ".tmp-train").exists()


def test_one_process_at_a_time(tmp_path):
    with RunDir(tmp_path / "r", "r"):
        with pytest.raises(OptkitError, match="another optkit is at work here") as caught, RunDir(tmp_path / "r", "r"):
            pass
        assert caught.value.exit_code == 1
    with RunDir(tmp_path / "r", "r"):
        pass


def test_a_folder_of_another_recipe_is_refused(tmp_path):
    with RunDir(tmp_path / "r", "one"):
        pass
    with pytest.raises(RecipeError) as caught:
        RunDir(tmp_path / "r", "two")
    assert str(caught.value) == f"{tmp_path}/r: holds a run of recipe 'one', not of 'two': choose another --output"


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RecipeError, match="is not empty and no run folder: choose another --output"):
        RunDir(tmp_path, "r")
    with pytest.raises(RecipeError, match="is a file, not a run folder"):
        RunDir(tmp_path / "thesis.txt", "r")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptkitError) as caught, RunDir(tmp_path / "file" / "r", "r"):
        pass
    assert str(caught.value) == f"{tmp_path}/file/r: cannot be written: Not a directory: choose another --output"


_ENTRIES = ("null", '{"key": 1}', '{"key": "k", "facts": [], "versions": {}, "seconds": 1}')


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '{"format": 2, "recipe": "r", "stages": {}}', '{"format": 1}', "[" * 100_000),
        *(f'{{"format": 1, "recipe": "r", "stages": {{"plan": {entry}}}}}' for entry in _ENTRIES),
    ],
)
def test_a_corrupt_manifest_is_one_line(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(OptkitError) as caught:
        RunDir(tmp_path, "r")
    assert str(caught.value) == (
        f"{tmp_path}/manifest.json: not a manifest that this optkit can read: move the folder away, or use --output"
    )
