"""Answers as bytes of JSON, and errors in the form of the interface that was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from optkit.serving.errors import RequestError, Unavailable

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class TeiError(BaseModel):
    """An error of Text Embeddings Inference."""

    error: str
    error_type: str


class OpenAIErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIError(BaseModel):
    """An error of OpenAI's API."""

    error: OpenAIErrorDetail


class V2Error(BaseModel):
    """An error of the Open Inference Protocol."""

    error: str


_OPENAI_CODES = {401: "invalid_api_key", 404: "model_not_found"}


def answer(values: Any) -> Response:
    """``values`` as JSON; numbers in them are finite."""
    return Response(to_json(values), media_type="application/json")


def error_answer(error: RequestError, scope: MutableMapping[str, Any]) -> Response:
    """``error`` as the interface that was asked tells it."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    body: BaseModel
    if path.startswith("/v1/"):
        kind = "invalid_request_error" if error.status < 424 else "server_error"
        body = OpenAIError(
            error=OpenAIErrorDetail(message=error.message, type=kind, code=_OPENAI_CODES.get(error.status))
        )
    elif path.startswith("/v2"):
        body = V2Error(error=error.message)
    else:
        body = TeiError(error=error.message, error_type=error.kind)
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(body.model_dump_json(), error.status, headers, media_type="application/json")


def documented(error: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's ``responses`` for those errors and the ones that every path has."""
    said = {
        401: "The API key is missing or wrong",
        404: "No such model",
        408: "The body did not arrive in time",
        413: "Too many bytes, texts or tokens",
        422: "Not what the interface takes",
        424: "The model failed, or does not do this",
        503: "Overloaded, stopping, or not loaded: Retry-After says when to try again",
        504: "No answer in time",
    }
    return {status: {"model": error, "description": said[status]} for status in statuses}
