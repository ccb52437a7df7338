"""What a server does not do: each refusal has its status, and says nothing of the server's inside."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from optkit.serving.encoder import Encoder

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("path", "request_", "status", "said"),
    [
        ("/predict", {"json": {"inputs": [["a"]] * 5}}, 413, "5 inputs in a request: at most 4"),
        (
            "/predict",
            {"content": b'{"inputs": "' + b"a" * 2000 + b'"}'},
            413,
            "the body is too large: at most 2000 bytes",
        ),
        ("/predict", {"json": {"inputs": "soup " * 70}}, 413, "an input has 72 tokens, and the model takes 64"),
        ("/predict", {"json": {"inputs": 3}}, 422, "inputs: is not of a kind that this takes: see /docs"),
        ("/predict", {"json": {"inputs": ["a", "b", "c"]}}, 422, "inputs: "),
        ("/predict", {"json": {"inputs": []}}, 422, "inputs: "),
        ("/predict", {"json": {"inputs": [[]]}}, 422, "inputs: "),
        ("/predict", {"json": {}}, 422, "inputs: Field required"),
        ("/predict", {"json": ["a"]}, 422, ""),
        ("/predict", {"content": b"not JSON"}, 422, "the body is not JSON"),
        ("/predict", {"content": b'{"inputs": "\\ud800"}'}, 422, ""),
        ("/predict", {"content": b'{"inputs": "\xff"}'}, 400, "There was an error parsing the body"),
        ("/predict", {"content": b'{"inputs":' + b"[" * 900}, 422, "the body is not JSON"),
        ("/predict", {"json": {"inputs": "a", "truncation_direction": "left"}}, 422, "truncation_direction: "),
        ("/embed", {"json": {"inputs": "a"}}, 424, "model is not an embedding model"),
        ("/rerank", {"json": {"query": "a", "texts": ["b"]}}, 424, "model is not a re-ranker model"),
        ("/nothing", {"json": {}}, 404, "there is no such path"),
        ("/models/other/reload", {"json": {}}, 401, "where the server has an API key"),
    ],
)
def test_a_bad_request_is_told(shared, path, request_, status, said):
    headers = {"content-type": "application/json"}
    answer = shared.post(path, headers=headers, **request_)
    assert answer.status_code == status
    assert said in answer.json()["error"] and set(answer.json()) == {"error", "error_type"}


@pytest.fixture(scope="module")
def shared(classifier):
    from starlette.testclient import TestClient

    from optkit.serving import app

    limits = {"max_texts": 4, "max_body": 2000, "threads": 1}
    with TestClient(app(classifier, **limits), raise_server_exceptions=False) as http:
        yield http
        assert http.post("/predict", json={"inputs": "a"}).status_code == 200


def test_a_wrong_method_and_a_body_without_its_length(shared):
    assert shared.get("/predict").status_code == 405

    def parts():
        for _ in range(30):
            yield b"a" * 100

    assert shared.post("/predict", content=parts()).status_code == 413


def test_the_key(client, classifier):
    http = client(classifier, key="secret")
    for headers in (
        {},
        {"Authorization": "secret"},
        {"Authorization": "Bearer Secret"},
        {"Authorization": "Bearer é".encode()},
    ):
        answer = http.post("/predict", json={"inputs": "a"}, headers=headers)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    for path in ("/metrics", "/info", "/v2", "/v2/models/text-classification", "/docs", "/nothing"):
        assert http.get(path).status_code == 401
    for path in ("/v2/health/live", "/v2/health/ready", "/health"):
        assert http.get(path).status_code == 200
    assert http.post("/predict", json={"inputs": "a"}, headers={"Authorization": "Bearer secret"}).status_code == 200


@pytest.fixture
def held(monkeypatch):
    """Holds every inference of models after ``hold`` until it is set; ``begun`` has the batches of all such."""
    go, infer = threading.Event(), Encoder.infer
    go.begun = []

    def wait(self, request, batch):
        if getattr(self, "held", False):
            go.begun.append(batch)
            go.wait(20)
        return infer(self, request, batch)

    monkeypatch.setattr(Encoder, "infer", wait)
    yield go
    go.set()


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def hold(http):
    [runner] = [http.app.state.models.get(name) for name in http.app.state.models]
    runner.encoder.held = True
    return runner


def test_a_full_queue_is_503_and_the_rest_is_answered(client, classifier, held):
    http = client(classifier, max_queue=4, max_texts=4, max_batch=1, threads=1, streams=1)
    runner = hold(http)
    with ThreadPoolExecutor(4) as threads:
        # Two are computed, as many as there are requests of OpenVINO's, and four wait.
        waiting = [threads.submit(http.post, "/predict", json={"inputs": [["a"], ["b"]]})]
        until(lambda: len(held.begun) == 2)
        waiting += [threads.submit(http.post, "/predict", json={"inputs": [["a"], ["b"]]}) for _ in range(2)]
        until(lambda: runner.waiting == 4)
        answer = http.post("/predict", json={"inputs": "c"})
        assert (answer.status_code, answer.json()) == (503, {"error": "the queue is full", "error_type": "Overloaded"})
        assert int(answer.headers["retry-after"]) >= 1
        held.set()
        assert [each.result().status_code for each in waiting] == [200] * 3
    assert http.post("/predict", json={"inputs": "c"}).status_code == 200
    assert 'optkit_requests_total{path="/predict",status="503"} 1.0' in http.get("/metrics").text


def test_too_many_requests_at_once_are_503(client, classifier, held, monkeypatch):
    http = client(classifier, max_requests=2)
    runner, taken = hold(http), []
    run = runner.run
    monkeypatch.setattr(runner, "run", lambda *texts, **options: taken.append(texts) or run(*texts, **options))
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(http.post, "/predict", json={"inputs": "a"}) for _ in range(2)]
        until(lambda: len(taken) == 2)
        answer = http.post("/predict", json={"inputs": "c"})
        assert (answer.status_code, answer.json()["error"]) == (503, "too many requests at once")
        assert http.get("/v2/health/live").status_code == 200
        held.set()
        assert [each.result().status_code for each in waiting] == [200, 200]


def test_no_answer_in_time_is_504_and_what_nobody_waits_for_is_not_computed(client, classifier, held):
    http = client(classifier, timeout=1.0, max_batch=1, threads=1, streams=1)
    runner = hold(http)
    answer = http.post("/predict", json={"inputs": [["a"]] * 5})
    assert (answer.status_code, answer.json()["error"]) == (504, "no answer in time")
    assert len(held.begun) == 2
    held.set()
    until(lambda: 'optkit_batch_inputs_count{model="text-classification"} 2.0' in http.get("/metrics").text)
    until(lambda: not runner.waiting)
    assert len(held.begun) == 2
    assert http.post("/predict", json={"inputs": "a"}).status_code == 200


def test_an_input_that_fails_harms_no_other(client, classifier, monkeypatch, texts):
    http, infer = client(classifier, threads=1, streams=1), Encoder.infer

    def fail(self, request, batch):
        if any(len(tokens) == 3 for tokens in batch):
            raise RuntimeError("/a/path/of/the/server")
        return infer(self, request, batch)

    monkeypatch.setattr(Encoder, "infer", fail)
    with ThreadPoolExecutor(8) as threads:
        good = [threads.submit(http.post, "/predict", json={"inputs": text}) for text in texts if len(text.split()) > 2]
        bad = threads.submit(http.post, "/predict", json={"inputs": "soup"})
        assert {each.result().status_code for each in good} == {200}
    assert bad.result().status_code == 424
    assert bad.result().json() == {"error": "the model failed on an input", "error_type": "Backend"}


def test_what_fails_inside_is_not_told(client, classifier, monkeypatch):
    from optkit.serving.api import tei

    http = client(classifier)
    monkeypatch.setattr(tei, "_predictions", lambda *_: [][0])
    answer = http.post("/predict", json={"inputs": "a"})
    assert (answer.status_code, answer.json()) == (500, {"error": "the server failed", "error_type": "Backend"})


def test_a_model_that_cannot_be_loaded_leaves_the_others(client, classifier, embedder, tmp_path):
    broken = shutil.copytree(embedder, tmp_path / "broken")
    (broken / "openvino_model.bin").write_bytes(b"")
    http = client({"topics": classifier, "search": broken}, key="k")
    key = {"Authorization": "Bearer k"}
    assert http.post("/predict", json={"inputs": "a"}, headers=key).status_code == 200
    answer = http.post("/embed", json={"inputs": "a"}, headers=key)
    assert (answer.status_code, answer.json()["error"]) == (503, "the model is not loaded")
    assert "retry-after" in answer.headers
    assert http.get("/v2/health/ready").status_code == 503
    assert http.get("/v2/models/topics/ready", headers=key).status_code == 200
    assert http.get("/v2/models/search/ready", headers=key).status_code == 503
    assert http.post("/models/search/reload", headers=key).status_code == 424
    shutil.copy(embedder / "openvino_model.bin", broken)
    assert http.post("/models/search/reload", headers=key).status_code == 200
    assert len(http.post("/embed", json={"inputs": "a"}, headers=key).json()) == 1
    assert http.get("/v2/health/ready").status_code == 200


def test_a_client_that_stalls_is_told(classifier):
    from optkit.serving import app

    application, sent = app(classifier, timeout=0.05), []

    async def receive():
        await asyncio.sleep(30)

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"10")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b"", "asgi": {}}
    asyncio.run(application(scope | {"http_version": "1.1", "scheme": "http"}, receive, send))
    assert sent[0]["status"] == 408
