"""OpenAI's interface for embeddings: /v1/embeddings, and /v1/models for its clients' lists.

https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from optkit.serving.api.answers import OpenAIError, answer, documented
from optkit.serving.api.embedding import Inputs, texts_of, vectors
from optkit.serving.errors import Failed

if TYPE_CHECKING:
    from optkit.serving.models import Models
    from optkit.serving.settings import Settings


class EmbeddingsRequest(BaseModel):
    input: Inputs
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "optkit"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


def router(models: Models, settings: Settings) -> APIRouter:
    """The paths of the interface."""
    found = APIRouter(prefix="/v1", tags=["OpenAI"])

    @found.post(
        "/embeddings",
        response_model=EmbeddingsResponse,
        responses=documented(OpenAIError, 401, 404, 408, 413, 422, 424, 503, 504),
    )
    async def embeddings(request: EmbeddingsRequest) -> Response:
        """Embeddings of texts, of length 1, as numbers or as base64 of little-endian float32."""
        if not models.folder(request.model).embeds:
            raise Failed("model is not an embedding model")
        runner = models.get(request.model)
        texts = texts_of(request.input, runner, settings.max_texts)
        rows = await runner.run(texts, truncate=settings.truncate, timeout=settings.timeout)
        embedded = vectors(rows, unit=True, dimensions=request.dimensions)
        if request.encoding_format == "base64":
            values: list[str] | list[list[float]] = [base64.b64encode(row.tobytes()).decode() for row in embedded]
        else:
            values = embedded.tolist()
        tokens = sum(len(row.tokens) for row in rows)
        return answer(
            {
                "object": "list",
                "data": [{"object": "embedding", "index": i, "embedding": value} for i, value in enumerate(values)],
                "model": request.model,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    @found.get("/models", responses=documented(OpenAIError, 401, 503))
    async def list_models() -> ModelList:
        """The models that are served."""
        return ModelList(data=[Model(id=name) for name in models])

    return found
