"""What a fuzzer makes of the OpenAPI page: no request is answered with 500, and answers are as the page says."""

from __future__ import annotations

import pytest
from capabilities import package

pytestmark = pytest.mark.slow

#: Requests for each path.
EXAMPLES = 12
#: The model that does what a path asks for.
SUITED = {"embed": "search", "rerank": "ranks"}


@pytest.fixture(scope="module")
def schema(classifier, embedder, reranker):
    from starlette.testclient import TestClient

    from optkit.serving import app

    folders = {"topics": classifier, "search": embedder, "ranks": reranker}
    application = app(folders, threads=1, max_body=20_000, max_texts=8, truncate=True)
    with TestClient(application):
        yield package("schemathesis").openapi.from_asgi("/openapi.json", application)


def test_no_request_is_answered_with_500(schema):
    checks = package("schemathesis").checks
    from hypothesis import HealthCheck, given, settings

    held = [checks.not_a_server_error, checks.response_schema_conformance, checks.content_type_conformance]
    asked: list[int] = []
    quick = settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
    )
    for operation in schema.get_all_operations():

        @quick
        @given(case=operation.ok().as_strategy())
        def ask(case):
            if "name" in (case.path_parameters or {}) and len(asked) % 4:
                case.path_parameters["name"] = SUITED.get(case.path.rpartition("/")[2], "topics")
            answer = case.call_and_validate(checks=held)
            asked.append(answer.status_code)

        ask()
    assert len(asked) > 10 * EXAMPLES and {200, 404, 422} <= set(asked)
