"""A model without HTTP: batches from many callers, a deadline, an end that answers what was taken in."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import numpy as np
import pytest

from optkit.serving import ModelRunner, RunnerOptions, app, read_folder
from optkit.serving.errors import TooLarge, Unavailable
from optkit.serving.runner import Statistics

pytestmark = pytest.mark.slow

CLOSE = 1e-4


class Batches(Statistics):
    def __init__(self):
        self.sizes = []

    def batch(self, inputs, tokens, padded, seconds):
        assert tokens <= padded and seconds > 0
        self.sizes.append(inputs)


def test_calls_are_computed_together_and_answered_apart(classifier, alone, texts):
    heard = Batches()
    options = RunnerOptions(threads=1, streams=1, precision="f32", max_batch=8, max_wait=0.2)
    runner = ModelRunner(read_folder(classifier), options, heard)

    async def main():
        inputs = [*texts[:20], ("the soup", "a song")]
        found = await asyncio.gather(*(runner.run([text]) for text in inputs), runner.run(inputs))
        asked = asyncio.create_task(runner.run(inputs))
        await asyncio.sleep(0)
        await runner.close()
        assert len(await asked) == 21
        with pytest.raises(Unavailable):
            await runner.run(["a"])
        return inputs, [rows[0] for rows in found[:-1]], found[-1]

    inputs, single, listed = asyncio.run(main())
    for (logits, mask), *rows in zip(alone(classifier, inputs), single, listed, strict=True):
        for row in rows:
            np.testing.assert_allclose(row.output, logits, atol=CLOSE)
            assert len(row.tokens) == len(mask)
    assert sum(heard.sizes) == 63 and max(heard.sizes) <= 8 and len(heard.sizes) < 40


def test_all_who_close_it_get_to_an_end(classifier):
    runner = ModelRunner(read_folder(classifier), RunnerOptions(threads=1, streams=1))

    async def main():
        asked = asyncio.create_task(runner.run(["the soup"] * 9))
        await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(runner.close(), runner.close()), timeout=60)
        assert len(await asked) == 9

    asyncio.run(main())


def test_answers_do_not_depend_on_counting(classifier, caplog):
    class Full(Statistics):
        def batch(self, inputs, tokens, padded, seconds):
            raise OSError(28, "No space left on device")

    runner = ModelRunner(read_folder(classifier), RunnerOptions(threads=1, streams=1), Full())

    async def main():
        rows = await runner.run(["the soup", "a song"], timeout=60)
        await asyncio.wait_for(runner.close(), timeout=60)
        return rows

    assert len(asyncio.run(main())) == 2
    assert "a batch is not counted" in caplog.text


def test_what_is_too_long_is_refused_or_cut(classifier, alone):
    options, heard = RunnerOptions(threads=1, streams=1, precision="f32"), []
    counted = Statistics()
    counted.queue = heard.append
    runner = ModelRunner(read_folder(classifier), options, counted)
    text = "the soup was fine . " * 20

    async def main():
        with pytest.raises(TooLarge, match="^an input has 102 tokens, and the model takes 64$"):
            await runner.run(["short", text])
        with pytest.raises(TooLarge, match="^an input has more than 16000 characters$"):
            await runner.run([text * 100])
        assert heard[-1] == runner.waiting == 0
        return await runner.run([text, text * 100], truncate=True)

    rows = asyncio.run(main())
    for row in rows:
        np.testing.assert_allclose(row.output, alone(classifier, [text])[0][0], atol=CLOSE)


def test_a_model_of_one_shape(classifier, alone, tmp_path, texts):
    import shutil

    from optkit.ir.io import read_model, save_model
    from optkit.ir.shapes import fix_shapes

    folder = shutil.copytree(classifier, tmp_path / "fixed")
    model = read_model(classifier)
    fix_shapes(model, 2, 16)
    save_model(model, folder)
    runner = ModelRunner(read_folder(folder), RunnerOptions(threads=1, streams=1, precision="f32"))
    short = [text for text in texts if len(text.split()) < 14][:5]
    rows = asyncio.run(runner.run(short))
    assert runner.encoder.longest == 16
    for row, (logits, _) in zip(rows, alone(classifier, short), strict=True):
        np.testing.assert_allclose(row.output, logits, atol=CLOSE)


#: Prints the cores that each thread was bound to while a model answered, one tuple for each set of cores.
BOUND = """
import asyncio, os, sys, threading
from contextlib import suppress
from pathlib import Path

from optkit.serving import ModelRunner, RunnerOptions, read_folder

runner = ModelRunner(read_folder(Path(sys.argv[1])), RunnerOptions(threads=1, streams=1))
assert runner.encoder.compiled.get_property("ENABLE_CPU_PINNING") is False
seen, stopped = set(), threading.Event()


def look():
    while not stopped.is_set():
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):
                seen.add(tuple(sorted(os.sched_getaffinity(int(thread.name)))))


watcher = threading.Thread(target=look)
watcher.start()
try:
    asyncio.run(runner.run(["the soup was fine"] * 200))
finally:
    stopped.set()
    watcher.join()
print(sorted(seen))
"""


def test_workers_do_not_compute_on_the_same_cores(classifier):
    """Threads that OpenVINO binds are on the first cores in every process. In a process of its own, since models that
    other tests compiled keep their threads, bound as OpenVINO does by default.
    """
    done = subprocess.run([sys.executable, "-c", BOUND, classifier], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == str([tuple(sorted(os.sched_getaffinity(0)))])


def test_an_application_can_be_mounted(classifier):
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    application = FastAPI()
    application.mount("/encoder", app(classifier, threads=1))
    with TestClient(application) as http:
        assert http.post("/encoder/predict", json={"inputs": "a"}).json()[0]["label"]
        answer = http.post("/encoder/v1/embeddings", json={"input": "a", "model": "x"})
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"
        assert "/predict" in http.get("/encoder/openapi.json").json()["paths"]
