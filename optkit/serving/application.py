"""The application: all interfaces over the same models, to be served or mounted in another one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

import optkit
from optkit.errors import OptkitError
from optkit.serving.api import openai, tei, v2
from optkit.serving.api.answers import TeiError, documented, error_answer
from optkit.serving.errors import Failed, Invalid, NotFound, RequestError, Unauthorized, Unavailable
from optkit.serving.guard import Guard
from optkit.serving.metrics import Metrics
from optkit.serving.models import Models
from optkit.serving.settings import Settings

log = logging.getLogger("optkit.serving")


def build(settings: Settings, key: str | None) -> FastAPI:
    """The application of ``settings``; its ``state`` holds ``models`` and ``stopping``."""
    metrics = Metrics()
    models = Models(settings.models, settings.runner_options(), metrics.statistics)

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        yield
        await models.close()

    found = FastAPI(
        title="optkit",
        version=optkit.__version__,
        description="Encoder models on optkit's runtime in OpenVINO.",
        lifespan=lifespan,
        redoc_url=None,
    )
    found.state.models, found.state.stopping = models, False

    def stopping() -> bool:
        return bool(found.state.stopping)

    found.include_router(tei.router(models, settings))
    found.include_router(openai.router(models, settings))
    found.include_router(v2.router(models, stopping))
    _add_own_paths(found, models, metrics, stopping, key)
    _add_errors(found)
    limits = {"max_body": settings.max_body, "max_requests": settings.max_requests, "timeout": settings.timeout}
    found.add_middleware(Guard, key=key, metrics=metrics, stopping=stopping, **limits)  # type: ignore[arg-type]
    return found


def _add_own_paths(
    found: FastAPI, models: Models, metrics: Metrics, stopping: Callable[[], bool], key: str | None
) -> None:
    @found.get("/metrics", tags=["Server"], response_class=PlainTextResponse, responses=documented(TeiError, 401, 503))
    async def render_metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @found.get("/health", tags=["Server"], response_class=Response, responses=documented(TeiError, 503))
    async def health() -> Response:
        """200 when every model is ready."""
        if stopping() or not models.ready:
            raise Unavailable("unhealthy")
        return Response()

    @found.post(
        "/models/{name}/reload",
        tags=["Server"],
        response_class=Response,
        responses=documented(TeiError, 401, 404, 408, 413, 424, 503),
    )
    async def reload(name: str) -> Response:
        """Loads the model's folder again, without a pause; needs a server with an API key."""
        if key is None:
            raise Unauthorized("models are loaded again over HTTP where the server has an API key; send it SIGHUP")
        try:
            await models.reload(name)
        except OptkitError as error:
            log.error("model %s cannot be loaded again: %s", name, error)
            raise Failed("the model cannot be loaded; the former one goes on") from None
        return Response()


def _add_errors(found: FastAPI) -> None:
    @found.exception_handler(RequestError)
    async def told(request: Request, error: RequestError) -> Response:
        return error_answer(error, request.scope)

    @found.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return error_answer(Invalid(_sentence(error)), request.scope)

    @found.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        told = NotFound("there is no such path") if error.status_code == 404 else Invalid(error.detail)
        told.status = error.status_code
        response = error_answer(told, request.scope)
        response.headers.update(error.headers or {})
        return response


def _sentence(error: RequestValidationError) -> str:
    """What is wrong first, without what was sent."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return "the body is not JSON"
    place = [str(part) for part in first["loc"][1:2]]
    several = len({each["loc"][:2] for each in error.errors()}) < len(error.errors())
    message = "is not of a kind that this takes: see /docs" if several else str(first["msg"])
    return ": ".join([*place, message])
