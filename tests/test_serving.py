"""The serving example: right answers under concurrency, mistakes told to who makes them alone, a clean end."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import runpy
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[1] / "examples" / "serving.py"
WORDS = "the soup song table garden river letter of day was fine lovely great sweet poor awful grim sour .".split()


@pytest.fixture(scope="module")
def serving():
    spec = importlib.util.spec_from_file_location("serving", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_checkpoint) -> Path:
    from optkit import export_openvino

    folder = tmp_path_factory.mktemp("exported")
    export_openvino(tiny_checkpoint, folder, export_task="text-classification")
    return folder


@pytest.fixture(scope="module")
def texts():
    """Of very unequal lengths, one of them empty."""
    rng = np.random.default_rng(0)
    return ["", *(" ".join(rng.choice(WORDS, rng.integers(1, 40))) for _ in range(60))]


@pytest.fixture(scope="module")
def expected(exported, texts):
    """Each text's label and probability, computed alone in plain OpenVINO."""
    from transformers import AutoTokenizer

    from optkit.ir.io import import_openvino

    compiled = import_openvino().Core().compile_model(exported / "openvino_model.xml", "CPU")
    tokenizer, found = AutoTokenizer.from_pretrained(exported), {}
    for text in texts:
        inputs = tokenizer([text], return_tensors="np", truncation=True, max_length=32)
        logits = compiled({port.any_name: inputs[port.any_name] for port in compiled.inputs})[0][0].astype(np.float64)
        shares = np.exp(logits) / np.exp(logits).sum()
        found[text] = (f"LABEL_{shares.argmax()}", shares.max())
    return found


async def ask(port, path="/classify", body=None, method=None, raw=None, again=()):
    """Statuses and answers of requests on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        found = []
        for each in (body, *again):
            data = b"" if each is None else each if isinstance(each, bytes) else json.dumps(each).encode()
            head = f"{method or ('GET' if each is None else 'POST')} {path} HTTP/1.1\r\nContent-Length: {len(data)}\r\n\r\n"
            writer.write(head.encode() + data if raw is None else raw)
            status = int((await reader.readline()).split()[1])
            length = 0
            while (line := await reader.readline()).strip():
                name, _, value = line.decode().partition(":")
                length = int(value) if name == "Content-Length" else length
            found.append((status, json.loads(await reader.readexactly(length))))
        return found if again else found[0]
    finally:
        writer.close()


def served(serving, folder, work, **options):
    """What ``work(port, server)`` returns, and the server after its end."""

    async def main():
        given = {"streams": 2, "threads": 2, "max_length": 32, "plan": "static", "max_batch": 8, "window": 0.02}
        server = serving.Server(serving.Classifier(folder, **given | options))
        port = await server.start("127.0.0.1", 0)
        try:
            async with asyncio.timeout(60):
                return await work(port, server), server
        finally:
            await server.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(main())


def assert_right(answer, expected):
    # In batches texts are padded, which only changes the order of sums.
    assert answer["label"] == expected[0] and answer["score"] == pytest.approx(expected[1], abs=1e-4)


def test_each_of_many_clients_gets_its_own_answer(serving, exported, texts, expected):
    async def work(port, server):
        single = asyncio.gather(*(ask(port, body={"text": text}) for text in texts))
        return await asyncio.gather(single, ask(port, body={"texts": texts[:20]}))

    (single, (status, listed)), server = served(serving, exported, work)
    for text, (code, answer) in zip(texts, single, strict=True):
        assert code == 200
        assert_right(answer, expected[text])
    assert status == 200 and len(listed["answers"]) == 20
    for text, answer in zip(texts, listed["answers"]):
        assert_right(answer, expected[text])
    # 81 texts in batches of 8 at most, and far from one by one.
    assert -(-81 // 8) <= server.classifier.batches <= 40


def test_a_text_alone_waits_no_longer_than_the_window(serving, exported, texts, expected):
    async def work(port, server):
        return await ask(port, body={"text": texts[1]}, again=[{"text": texts[2]}, {"text": texts[3]}])

    answers, server = served(serving, exported, work, window=0.0)
    for text, (status, answer) in zip(texts[1:4], answers, strict=True):
        assert status == 200
        assert_right(answer, expected[text])
    assert server.classifier.batches == 3


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        ({"body": b"{"}, 400, "the body is no JSON: "),
        ({"body": b"[" * 100_000}, 400, "the body is no JSON: "),
        ({"body": {"sentence": "fine"}}, 400, 'the body must be {"text": "..."} or {"texts": ["...", "..."]}'),
        ({"body": {"text": "a", "texts": ["b"]}}, 400, "the body must be "),
        ({"body": {"text": 5}}, 400, "a text is a string"),
        ({"body": {"texts": []}}, 400, "a text is a string, and texts are a list of them, not empty"),
        ({"body": b'{"text": "\\ud800"}'}, 400, "half of a surrogate pair"),
        ({"body": {"texts": ["a"] * 257}}, 413, "257 texts at once: at most 256"),
        ({"raw": b"POST /classify HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"}, 413, "the body has 99999999 bytes"),
        (
            {"raw": b"POST /classify HTTP/1.1\r\nContent-Length: -1\r\n\r\n"},
            411,
            "send a Content-Length, and no chunks",
        ),
        ({"raw": b"hello\r\n\r\n"}, 400, "this is no HTTP/1.1 request"),
        ({"method": "PUT", "body": {"text": "a"}}, 405, "PUT does nothing here: POST /classify"),
        ({"path": "/predict", "body": {"text": "a"}}, 404, "no /predict here: POST /classify"),
    ],
)
def test_a_bad_request_is_told_and_harms_no_other(serving, exported, texts, expected, request_, status, said):
    async def work(port, server):
        good = [ask(port, body={"text": text}) for text in texts[1:4]]
        return await asyncio.gather(ask(port, **request_), *good, ask(port, "/health"))

    ((code, answer), *good, health), _ = served(serving, exported, work)
    assert code == status and said in answer["error"] and len(answer["error"].splitlines()) == 1
    for text, (code, answer) in zip(texts[1:4], good, strict=True):
        assert code == 200
        assert_right(answer, expected[text])
    assert health == (200, {"status": "ok"})


def test_a_batch_that_fails_is_told_to_who_asked_and_the_next_one_works(serving, exported, texts, expected):
    async def work(port, server):
        tokenizer, found = server.classifier.tokenizer, []
        # The tokenizer fails; then, in OpenVINO's own threads, the model, by a mask of another length.
        for broken in (
            None,
            lambda *_, **__: {
                **tokenizer([texts[1]], return_tensors="np"),
                "attention_mask": np.ones((1, 3), np.int64),
            },
        ):
            server.classifier.tokenizer = broken
            found.append(await ask(port, body={"text": texts[1]}))
        server.classifier.tokenizer = tokenizer
        return *found, await ask(port, body={"text": texts[1]})

    (*broken, (code, right)), _ = served(serving, exported, work, streams=1)
    for status, answer in broken:
        assert status == 500
        assert answer["error"].startswith("the model failed: ") and len(answer["error"].splitlines()) == 1
    assert code == 200
    assert_right(right, expected[texts[1]])


def test_what_was_taken_in_is_answered_before_the_end(serving, exported, texts, expected):
    async def work(port, server):
        idle = await asyncio.open_connection("127.0.0.1", port)
        asked = [asyncio.create_task(ask(port, body={"text": text})) for text in texts[1:9]]
        while len(server.busy) < 8:
            await asyncio.sleep(0.001)
        await server.close()
        assert await idle[0].read() == b""
        idle[1].close()
        with pytest.raises(OSError):
            await ask(port, "/health")
        return await asyncio.gather(*asked)

    answers, server = served(serving, exported, work, window=0.2, max_batch=64)
    assert server.classifier.batches == 1
    for text, (status, answer) in zip(texts[1:9], answers, strict=True):
        assert status == 200
        assert_right(answer, expected[text])


def test_the_command_serves_until_it_is_told_to_stop(exported, texts, expected):
    command = [sys.executable, EXAMPLE, exported, "--port", "0", "--plan", "static", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        where = process.stdout.readline().split()[-1]
        asked = urllib.request.Request(f"{where}/classify", json.dumps({"text": texts[1]}).encode())
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert_right(json.load(answer), expected[texts[1]])
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and rest == "answered in 1 batches\n"


def test_a_folder_without_a_model_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["serving", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert end.value.code.startswith(f"error: {tmp_path}") and len(end.value.code.splitlines()) == 1
