"""The application of Ray Serve without a cluster: what it asks Ray for, what it refuses, and what a replica answers.

scripts/serve_ray.py runs it on one, and kills a replica.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from capabilities import need
from pydantic import PydanticDeprecatedSince20

from optkit.errors import UsageError

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_serve.yaml"


@pytest.fixture(scope="module")
def on_ray():
    """The module, which imports Ray."""
    need("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # Ray's own fields
        from ray.serve import schema  # noqa: F401

        from optkit.serving import ray
    return ray


def test_a_replica_has_a_cpu_for_each_thread(on_ray, classifier):
    deployment = on_ray.app({"models": {"topics": str(classifier)}, "threads": 3, "max_requests": 40})._bound_deployment
    assert (deployment.name, deployment.ray_actor_options["num_cpus"]) == ("optkit", 3)
    # More than one batch for each stream may be under way, and what waits beyond the limit is refused.
    assert deployment.max_ongoing_requests > 64 and deployment.max_queued_requests == 40
    assert on_ray.app({"models": [str(classifier)]})._bound_deployment.ray_actor_options["num_cpus"] == 1


def test_a_replica_answers_as_the_server_does(on_ray, client, classifier, monkeypatch):
    from starlette.testclient import TestClient

    monkeypatch.setenv("OPTKIT_SERVE_API_KEY", "secret")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    args = {"models": {"topics": str(classifier)}, "threads": 1, "precision": "f32"}
    key = {"Authorization": "Bearer secret"}
    asked = {"inputs": [["the soup"], ["a sad song"]]}
    expected = client({"topics": classifier}).post("/predict", json=asked, headers=key).json()
    # Ray gives the whole path, and the application's prefix as the root.
    with TestClient(on_ray.replica(args), root_path="/topics") as http:
        answer = http.post("/topics/predict", json=asked, headers=key)
        assert answer.status_code == 200
        for rows in zip(answer.json(), expected, strict=True):
            own, other = ({each["label"]: each["score"] for each in row} for row in rows)
            assert own == pytest.approx(other, abs=1e-4) and len(own) == 3
        assert http.post("/topics/predict", json=asked).status_code == 401
        assert http.get("/topics/health").status_code == 200


def test_wrong_arguments_are_told_before_a_replica_starts(on_ray):
    with pytest.raises(UsageError) as refused:
        on_ray.app({"port": 80, "workers": 2, "max_text": 3, "threads": "all"})
    assert str(refused.value).splitlines() == [
        "args.port: Ray Serve listens here: set http_options of its file",
        "args.workers: Ray Serve listens here: set num_replicas or autoscaling_config of its file",
        "args.max_text: no such setting, did you mean 'max_texts'?",
        "args.models: no model: give the folder of an exported model, such as runs/NAME/openvino",
        "args.threads: a whole number from 1 up, got 'all'",
    ]
    with pytest.raises(UsageError, match=r"^args\.max_batch: input should be greater than or equal to 1, got 0$"):
        on_ray.app({"models": ["a"], "max_batch": 0})


def test_the_example_is_what_ray_and_the_application_take(on_ray):
    from ray.serve.schema import ServeDeploySchema
    from ruamel.yaml import YAML

    found = ServeDeploySchema.model_validate(YAML(typ="safe").load(EXAMPLE.read_text(encoding="utf-8")))
    assert found.http_options.host == "127.0.0.1"
    assert [each.name for each in found.applications] == ["topics", "search"]
    for each in found.applications:
        assert each.import_path == "optkit.serving.ray:app"
        assert on_ray.app(each.args)._bound_deployment.ray_actor_options["num_cpus"] == each.args["threads"]
        [deployment] = each.deployments
        assert deployment.name == on_ray.NAME
