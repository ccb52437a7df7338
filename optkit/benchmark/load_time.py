"""The time that a model takes to load and the memory that it needs, measured in a process of its own.

Run as a program this is that process: a JSON object on stdin names the model, one on stdout has the figures.
"""

from __future__ import annotations

import contextlib
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from optkit.adapters.ctranslate2 import CHECKPOINT
from optkit.benchmark.engines.base import Inputs, Setting, Source
from optkit.benchmark.engines.loader import load
from optkit.errors import OptkitError, in_a_line
from optkit.variant import Variant

#: Loads of which the median counts.
REPEATS = 3
_STATUS = Path("/proc/self/status")
_PAGES = 1 << 24


def measure_load(variant: Variant, source: Source, setting: Setting, inputs: Inputs) -> dict[str, Any]:
    """Loads ``source`` in a process of its own and runs one inference.

    Returns:
        ``seconds``: from files in the page cache to a model that can infer, median of ``REPEATS``, and ``all`` of them;
        ``peak``: most bytes that the process held at once, and ``imports``: before the model came; both None where the
        system does not say.

    Raises:
        OptkitError: if the process fails.
    """
    with tempfile.TemporaryDirectory(prefix="optkit-bench-") as folder:
        file = Path(folder) / "inputs.npz"
        np.savez(file, **inputs)
        request = {
            "variant": variant.id,
            "source": asdict(source) | {"path": str(source.path.resolve())},
            "setting": asdict(setting),
            "inputs": str(file),
        }
        words = [sys.executable, "-m", "optkit.benchmark.load_time"]
        done = subprocess.run(words, input=json.dumps(request), capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout.splitlines()[-1])  # libraries may print before
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise OptkitError(f"{source.path}: the process that loads it failed: {last[:300]}") from None
    if "error" in found:
        raise OptkitError(found["error"])
    return found


def _load(request: dict[str, Any]) -> dict[str, Any]:
    variant = Variant.parse(request["variant"])
    source = Source(request["source"]["kind"], Path(request["source"]["path"]))
    setting = Setting(**request["setting"] | {"shape": tuple(request["setting"]["shape"])})
    with np.load(request["inputs"], allow_pickle=False) as stored:
        inputs = {name: stored[name] for name in stored.files}
    _import(source)
    for file in source.files():
        _read(file)
    imports, peaks = peak_memory(), []

    def first(engine: Any) -> None:
        if not peaks:
            engine.prepare(inputs)()
            peaks.append(peak_memory())

    seconds = timed(lambda: load(variant, source, setting), first)
    return {"seconds": statistics.median(seconds), "all": seconds, "imports": imports, "peak": peaks[0]}


def timed(load: Callable[[], Any], then: Callable[[Any], object] = lambda _: None) -> list[float]:
    """Seconds of each of ``REPEATS`` loads; ``then`` is called with each loaded model before it is released."""
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        loaded = load()
        seconds.append(time.perf_counter() - begun)
        then(loaded)
        del loaded
        gc.collect()
    return seconds


def _import(source: Source) -> None:
    """Imports the libraries that a backend needs for any model."""
    if source.kind in ("checkpoint", "ctranslate2"):
        import transformers

        from optkit.checkpoints.compact_config import read_config

        folder = source.path / CHECKPOINT if source.kind == "ctranslate2" else source.path
        names = read_config(folder).get("architectures") or []
        if names:
            getattr(transformers, str(names[0]), None)
    elif source.kind == "onnx":
        import onnxruntime  # noqa: F401
    elif source.kind == "tvm":
        import tvm  # noqa: F401
    else:
        from optkit.runtime import compiling  # noqa: F401
        from optkit.runtime.loading import new_core

        new_core()


def _read(file: Path) -> None:
    """Brings a file into the page cache."""
    with file.open("rb") as opened:
        while opened.read(_PAGES):
            pass


def peak_memory() -> int | None:
    """The most bytes that this process has held at once; None where the system does not say."""
    try:
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


@contextlib.contextmanager
def _only_answer_on_stdout() -> Iterator[Any]:
    """Redirects to stderr what libraries print; yields stdout."""
    with contextlib.redirect_stdout(sys.stderr):
        yield sys.__stdout__


def main() -> None:
    with _only_answer_on_stdout() as out:
        try:
            answer = _load(json.load(sys.stdin))
        except Exception as error:
            answer = {"error": in_a_line(error)}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
