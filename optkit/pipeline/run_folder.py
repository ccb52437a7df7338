"""The folder of a run: one folder a stage, a manifest that says from what each was made, a lock, and what was replaced.

A stage writes into a temporary folder that gets its real name when it is whole, then the manifest records it. So
whatever kills a run, each folder is either whole or absent, and the next run does only what is missing or changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from optkit.errors import OptkitError, UsageError
from optkit.json_files import read_json

MANIFEST = "manifest.json"
FORMAT = 1


def digest(facts: Any) -> str:
    """SHA-256 of ``facts`` as sorted JSON: equal facts have equal digests."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Writes ``text`` so that ``path`` holds either all of it or what it held before."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


class RunDir:
    """One run's folder. Use it as a context manager: it holds the lock meanwhile.

    Args:
        path: made when it is not there.
        name: of the recipe; a folder of another recipe is refused.

    Raises:
        UsageError: if the folder belongs to another recipe, or holds something that is no run.
        OptkitError: if another process is using it, it cannot be written, or its manifest cannot be read.
    """

    def __init__(self, path: Path, name: str):
        self.path = Path(path)
        self._manifest: dict[str, Any] = {"format": FORMAT, "recipe": name, "stages": {}}
        manifest = self.path / MANIFEST
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: is a file, not a run folder: choose another --output")
        if manifest.is_file():
            self._manifest = _read(manifest)
            if self._manifest["recipe"] != name:
                raise UsageError(
                    f"{self.path}: holds a run of recipe '{self._manifest['recipe']}', not of '{name}': choose another "
                    "--output"
                )
        elif self.path.is_dir() and any(p.name != ".lock" for p in self.path.iterdir()):
            raise UsageError(f"{self.path}: is neither empty nor a run folder: choose another --output")
        self._lock: Any = None

    def __enter__(self) -> RunDir:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path / ".lock")
            self._lock.acquire(timeout=0)
            for left in self.path.glob(".tmp-*"):
                shutil.rmtree(left, ignore_errors=True)
            self._save()
        except Timeout:
            raise OptkitError(f"{self.path}: another optkit is at work here: wait for it, or choose --output") from None
        except OSError as error:
            raise OptkitError(f"{self.path}: cannot be written: {error.strerror}: choose another --output") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _save(self) -> None:
        write_atomic(self.path / MANIFEST, json.dumps(self._manifest, indent=2, default=str) + "\n")

    def entry(self, stage: str) -> dict[str, Any] | None:
        """What the manifest says of a finished stage, None if it has not finished."""
        return self._manifest["stages"].get(stage)

    def facts(self, stage: str) -> dict[str, Any]:
        """What a finished stage found out; empty if it has not finished."""
        return (self.entry(stage) or {}).get("facts", {})

    def is_done(self, stage: str, key: str, outputs: Sequence[str]) -> bool:
        """Whether ``stage`` finished with the input ``key`` and all that it ``made`` is still there."""
        entry = self.entry(stage)
        return entry is not None and entry["key"] == key and all((self.path / name).exists() for name in outputs)

    @contextmanager
    def writing(
        self,
        stage: str,
        key: str,
        folder: str | None,
        versions: Mapping[str, str],
        machine: Mapping[str, Any] | None = None,
    ) -> Iterator[StageOutput]:
        """The temporary folder and the facts of a stage; both become the run's when the block ends without an error.

        Args:
            versions, machine: with which, and on which, the stage works: kept, for whatever it measures.
        """
        temporary = self.path / f".tmp-{stage}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        work, begun = StageOutput(stage, temporary), time.perf_counter()
        try:
            yield work
            if self._manifest["stages"].pop(stage, None):  # it tells of the folder that is replaced now
                self._save()
            if folder is not None:
                self.archive(self.path / folder)
                if any(temporary.iterdir()):  # a stage that had nothing to make leaves no folder
                    os.replace(temporary, self.path / folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._manifest["stages"][stage] = {
            "key": key,
            "seconds": round(time.perf_counter() - begun, 2),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "versions": dict(versions),
            "machine": None if machine is None else dict(machine),
            "facts": json.loads(json.dumps(work.facts, default=str)),  # as the next run will read them
        }
        self._save()

    def borrow(self, other: Path, stage: str, key: str, folder: str) -> bool:
        """Copies the ``folder`` of ``stage`` from another run that made it from the same input ``key``, if it did.

        Raises:
            OptkitError: if the other's manifest cannot be read.
        """
        entry = _read(other / MANIFEST)["stages"].get(stage)
        if entry is None or entry["key"] != key or not (other / folder).is_dir():
            return False
        with self.writing(stage, key, folder, entry["versions"], entry.get("machine")) as work:
            shutil.copytree(other / folder, work.folder, dirs_exist_ok=True)
            work.facts |= entry["facts"]
        return True

    def archive(self, path: Path) -> None:
        """Moves what is about to be replaced to ``stale/``, under a name of its own."""
        if not path.exists():
            return
        stale = self.path / "stale"
        stale.mkdir(exist_ok=True)
        number = 1
        while (stale / f"{path.name}-{number}").exists():
            number += 1
        os.replace(path, stale / f"{path.name}-{number}")

    def start_over(self) -> None:
        """Forgets every finished stage; their folders go to ``stale/``."""
        for path in sorted(self.path.iterdir()):
            if path.is_dir() and path.name != "stale" and not path.name.startswith("."):
                self.archive(path)
        self._manifest["stages"] = {}
        self._save()


def is_run(path: Path) -> bool:
    """Whether ``path`` is a run's folder."""
    return (path / MANIFEST).is_file()


def reusable_runs(reuse: Path, run: Path) -> list[Path]:
    """The runs that ``reuse`` names: itself, or those in it without ``run``.

    Raises:
        UsageError: if it is not a run folder and holds none.
    """
    if is_run(reuse):
        return [reuse]
    inside = sorted(manifest.parent for manifest in reuse.glob(f"*/{MANIFEST}"))
    if not inside:
        raise UsageError(f"--reuse: {reuse} is not a run folder: name one that `optkit run` made")
    return [other for other in inside if other.resolve() != run.resolve()]


@contextmanager
def build_lock(root: Path, what: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Lets one process at a time, of those that work in ``root``, make ``what``; ``tell`` hears that it waits. Where
    locks cannot be written there is none: finished stages may be copied from there all the same.
    """
    locks = root / ".locks"
    lock = FileLock(locks / what)
    try:
        locks.mkdir(exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        tell("waiting for another run, which makes the same")
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


class StageOutput:
    """What the stage ``name`` makes: files in ``folder``, and ``facts``, which JSON can hold, for the manifest."""

    def __init__(self, name: str, folder: Path):
        self.name, self.folder = name, folder
        self.facts: dict[str, Any] = {}


def _read(path: Path) -> dict[str, Any]:
    try:
        manifest = read_json(path)
        valid = manifest["format"] == FORMAT and isinstance(manifest["stages"], dict) and "recipe" in manifest
        valid = valid and all(map(_is_entry, manifest["stages"].values()))
    except (ValueError, KeyError, TypeError):
        valid = False
    if not valid:
        raise OptkitError(f"{path}: not a manifest that this optkit can read: move the folder away, or use --output")
    return manifest


def _is_entry(entry: Any) -> bool:
    """Whether this is what a manifest says of a stage."""
    kinds = {"key": str, "facts": dict, "versions": dict, "seconds": (int, float)}
    return isinstance(entry, dict) and all(isinstance(entry.get(name), kind) for name, kind in kinds.items())
