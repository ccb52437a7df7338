"""A run folder holds whole stages or none, belongs to one recipe and one process, and throws nothing away."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from optkit.errors import OptkitError, UsageError
from optkit.pipeline.run_folder import RunDir, build_lock, digest, write_atomic


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
        run.archive(tmp_path / "r" / "nothing")
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
    with pytest.raises(UsageError) as caught:
        RunDir(tmp_path / "r", "two")
    assert str(caught.value) == f"{tmp_path}/r: holds a run of recipe 'one', not of 'two': choose another --output"


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="is neither empty nor a run folder: choose another --output"):
        RunDir(tmp_path, "r")
    with pytest.raises(UsageError, match="is a file, not a run folder"):
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


POSIX_ONLY = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")


def test_the_lock_holds_without_what_posix_alone_has(tmp_path):
    """As on Windows: the modules are made unimportable, in a process of its own."""
    code = """
import sys, warnings
sys.modules.update(dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios")))
warnings.simplefilter("ignore")  # filelock says that it knows one kind of lock only
import optkit, optkit.ranks, optkit.cli.app, optkit.cli.run
from optkit.errors import OptkitError
from optkit.pipeline.run_folder import RunDir, build_lock
with RunDir("run", "r"):
    try:
        with RunDir("run", "r"):
            sys.exit("locked twice")
    except OptkitError as error:
        assert "another optkit is at work here" in str(error)
with RunDir("run", "r"), build_lock(optkit.pipeline.run_folder.Path("."), "teacher", print):
    pass
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_no_module_needs_what_posix_alone_has_to_be_imported():
    found = []
    for path in (Path(__file__).parents[2] / "optkit").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.name}: {name}" for name in names if name.partition(".")[0] in POSIX_ONLY]
    assert found == []


def test_a_folder_that_takes_no_locks_is_read_all_the_same(tmp_path):
    (tmp_path / ".locks").write_text("a file, as unwritable as a folder of somebody else")
    said = []
    with build_lock(tmp_path, "teacher", said.append):
        said.append("read")
    assert said == ["read"]


def test_a_second_process_waits_for_what_another_makes(tmp_path):
    held, said = threading.Event(), []

    def first() -> None:
        with build_lock(tmp_path, "teacher", said.append):
            held.set()
            threading.Event().wait(0.3)
            said.append("made")

    thread = threading.Thread(target=first)
    thread.start()
    assert held.wait(10)
    with build_lock(tmp_path, "teacher", said.append):
        said.append("mine")
    thread.join()
    assert said == ["waiting for another run, which makes the same", "made", "mine"]


def test_memory_is_told_without_what_posix_alone_has(monkeypatch):
    from optkit.planning import estimate

    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=5, peak_wset=7))
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(Process=lambda: process))
    assert estimate._peak() == 7
