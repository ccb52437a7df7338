"""The Open Inference Protocol: health and metadata."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def test_health_and_metadata(client, classifier):
    http = client({"topics": classifier})
    assert http.get("/v2").json() == {"name": "optkit", "version": "0.1.0", "extensions": []}
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True}
    assert http.get("/v2/models/topics/ready").json() == {"name": "topics", "ready": True}
    found = http.get("/v2/models/topics").json()
    assert (found["name"], found["platform"]) == ("topics", "openvino")
    assert {port["name"]: (port["datatype"], port["shape"]) for port in found["inputs"]} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), ("INT64", [-1, -1])
    )
    assert found["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}]
    answer = http.get("/v2/models/nope")
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no such model"})


def test_who_stops_is_alive_and_not_ready(client, classifier):
    http = client(classifier)
    http.app.state.stopping = True
    assert http.get("/v2/health/live").status_code == 200
    assert [http.get(path).status_code for path in ("/v2/health/ready", "/health")] == [503, 503]
    # What is asked all the same is answered, and the connection ends.
    answer = http.post("/predict", json={"inputs": "a"})
    assert answer.status_code == 200 and answer.headers["connection"] == "close"
