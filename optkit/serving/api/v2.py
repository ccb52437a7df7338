"""Health and metadata of the Open Inference Protocol (https://github.com/kserve/open-inference-protocol)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

import optkit
from optkit.serving.api.answers import V2Error, documented

if TYPE_CHECKING:
    from collections.abc import Callable

    from optkit.serving.models import Models

#: The protocol's names of OpenVINO's element types.
_TYPES = {"i64": "INT64", "i32": "INT32", "f32": "FP32", "f16": "FP16", "bf16": "BF16", "boolean": "BOOL"}


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    live: bool


class Ready(BaseModel):
    ready: bool


class ModelReady(BaseModel):
    name: str
    ready: bool


class TensorMetadata(BaseModel):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def router(models: Models, stopping: Callable[[], bool]) -> APIRouter:
    """The paths of the protocol.

    Args:
        stopping: whether the server takes no further clients.
    """
    found = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    by_name = documented(V2Error, 401, 404, 503)

    @found.get("", responses=documented(V2Error, 401, 503))
    async def server_metadata() -> ServerMetadata:
        """Name and version of the server."""
        return ServerMetadata(name="optkit", version=optkit.__version__, extensions=[])

    @found.get("/health/live")
    async def live() -> Live:
        """Whether the server answers at all: for a liveness probe."""
        return Live(live=True)

    @found.get("/health/ready", responses={503: {"model": Ready, "description": "Not every model is ready"}})
    async def ready(response: Response) -> Ready:
        """Whether every model is ready, and the server does not stop: for a readiness probe."""
        found = models.ready and not stopping()
        response.status_code = 200 if found else 503
        return Ready(ready=found)

    @found.get("/models/{name}", responses=by_name)
    async def model_metadata(name: str) -> ModelMetadata:
        """Inputs and outputs of a model."""
        compiled = models.get(name).encoder.compiled
        return ModelMetadata(
            name=name,
            versions=[],
            platform="openvino",
            inputs=[_tensor(port) for port in compiled.inputs],
            outputs=[_tensor(port) for port in compiled.outputs],
        )

    @found.get(
        "/models/{name}/ready",
        responses=documented(V2Error, 401, 404) | {503: {"model": ModelReady, "description": "It is not ready"}},
    )
    async def model_ready(name: str, response: Response) -> ModelReady:
        """Whether a model is ready."""
        found = models.is_ready(name) and not stopping()
        response.status_code = 200 if found else 503
        return ModelReady(name=name, ready=found)

    return found


def _tensor(port: Any) -> TensorMetadata:
    kind = port.get_element_type().get_type_name()
    shape = [size.get_length() if size.is_static else -1 for size in port.get_partial_shape()]
    return TensorMetadata(name=port.get_any_name(), datatype=_TYPES.get(kind, kind.upper()), shape=shape)
