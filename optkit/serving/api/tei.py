"""The interface of Text Embeddings Inference: /embed, /rerank, /predict, /info, and / for the model's own task.

Requests and answers are those of its OpenAPI description
(https://huggingface.github.io/text-embeddings-inference/). With several models the paths begin with /models/NAME; those
without are for the one model that does what is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError

import optkit
from optkit.serving.api.answers import TeiError, answer, documented
from optkit.serving.api.embedding import Inputs, check_count, texts_of, vectors
from optkit.serving.api.zero_shot import ZeroShotRequest, predictions
from optkit.serving.errors import Failed, Invalid
from optkit.serving.outputs import entities, scores
from optkit.tasks.zero_shot_classification.spec import entailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from optkit.serving.folder import ModelFolder
    from optkit.serving.models import Models
    from optkit.serving.runner import ModelRunner, Row
    from optkit.serving.settings import Settings
    from optkit.serving.tokenizer import Text

_OneOrTwo = Annotated[list[str], Field(min_length=1, max_length=2)]
_Truncate = Annotated[
    bool | None, Field(description="Cut what is too long; else it is an error. Default: as the server is set.")
]


class EmbedRequest(BaseModel):
    inputs: Inputs
    truncate: _Truncate = None
    truncation_direction: Literal["right", "Right", "left", "Left"] = "right"
    normalize: bool = True
    prompt_name: str | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None


class PredictRequest(BaseModel):
    inputs: Annotated[
        str | _OneOrTwo | Annotated[list[_OneOrTwo], Field(min_length=1)],
        Field(description="A text, a pair [text, text], or a batch [[text], [text, text], ...]."),
    ]
    truncate: _Truncate = None
    truncation_direction: Literal["right", "Right", "left", "Left"] = "right"
    raw_scores: bool = False


class RerankRequest(BaseModel):
    query: str
    texts: Annotated[list[str], Field(min_length=1)]
    truncate: _Truncate = None
    truncation_direction: Literal["right", "Right", "left", "Left"] = "right"
    raw_scores: bool = False
    return_text: bool = False


class Prediction(BaseModel):
    score: float
    label: str


class Entity(BaseModel):
    """Of token classification, which Text Embeddings Inference does not have: as pipelines of transformers tell it."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int


class Rank(BaseModel):
    index: int
    score: float
    text: str | None = None


class ClassifierModel(BaseModel):
    id2label: dict[str, str]
    label2id: dict[str, int]


class EmbeddingModel(BaseModel):
    pooling: str


class Info(BaseModel):
    model_id: str
    model_sha: str | None = None
    model_dtype: str
    model_type: dict[str, ClassifierModel | EmbeddingModel]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None = None
    docker_label: str | None = None


_Predictions = list[Prediction] | list[list[Prediction]] | list[Entity] | list[list[Entity]]
_ERRORS = documented(TeiError, 401, 404, 408, 413, 422, 424, 503, 504)


class _Tei:
    """The handlers, for the model of a name or for the only one that suits."""

    def __init__(self, models: Models, settings: Settings):
        self.models, self.settings = models, settings

    def find(self, name: str | None, suits: Callable[[ModelFolder], bool], kind: str) -> ModelRunner:
        """The model to ask.

        Raises:
            RequestError: NotFound, Invalid, Unavailable, or Failed if it is no model of that ``kind``.
        """
        name = name if name is not None else self.models.only(suits)
        if name is None or not suits(self.models.folder(name)):
            raise Failed(f"model is not {kind} model")
        return self.models.get(name)

    async def run(self, runner: ModelRunner, texts: Sequence[Text], request: Any) -> list[Row]:
        check_count(len(texts), self.settings.max_texts)
        if request.truncation_direction.lower() == "left":
            raise Invalid("truncation_direction: texts are cut at their end only: send right")
        truncate = self.settings.truncate if request.truncate is None else request.truncate
        return await runner.run(texts, truncate=truncate, timeout=self.settings.timeout)

    async def embed(self, request: EmbedRequest, name: str | None = None) -> Response:
        runner = self.find(name, lambda folder: folder.embeds, "an embedding")
        if request.prompt_name is not None:
            raise Invalid("prompt_name: prompts are those of the model's folder: leave it out")
        rows = await self.run(runner, texts_of(request.inputs, runner, self.settings.max_texts), request)
        return answer(vectors(rows, unit=request.normalize, dimensions=request.dimensions).tolist())

    async def rerank(self, request: RerankRequest, name: str | None = None) -> Response:
        runner = self.find(name, lambda folder: folder.ranks, "a re-ranker")
        rows = await self.run(runner, [(request.query, text) for text in request.texts], request)
        logits = np.stack([row.output for row in rows])
        # Whatever its problem, a rank is a probability unless raw scores are asked for.
        found = (logits if request.raw_scores else scores(logits, None))[:, 0].tolist()
        ranks = [{"index": index, "score": found[index]} for index in np.argsort(found, kind="stable")[::-1].tolist()]
        if request.return_text:
            ranks = [rank | {"text": request.texts[rank["index"]]} for rank in ranks]
        return answer(ranks)

    async def predict(self, request: PredictRequest, name: str | None = None) -> Response:
        runner = self.find(name, lambda folder: not folder.embeds, "a classification")
        inputs = request.inputs
        single = isinstance(inputs, str) or isinstance(inputs[0], str)
        texts: list[Text] = [_joined(each) for each in ([inputs] if single else inputs)]
        if runner.encoder.folder.task == "token-classification":
            if not all(isinstance(text, str) for text in texts):
                raise Invalid("inputs: entities are found in single texts, and not in pairs")
            rows = await self.run(runner, texts, request)
            found = [_entities(text, row, runner) for text, row in zip(texts, rows)]
        else:
            rows = await self.run(runner, texts, request)
            logits = np.stack([row.output for row in rows])
            shares = logits if request.raw_scores else scores(logits, runner.encoder.folder.problem)
            found = [_predictions(row, runner.encoder.labels) for row in shares]
        return answer(found[0] if single else found)

    async def zero_shot(self, request: ZeroShotRequest, name: str) -> Response:
        runner = self.find(name, lambda folder: folder.task == "text-classification", "a classification")
        entailment = entailed(runner.encoder.labels)
        if entailment is None:
            raise Failed("model is not a zero-shot model: none of its outputs is entailment")
        pairs = request.pairs(runner.encoder.folder.template)
        check_count(len(pairs), self.settings.max_texts)
        rows = await runner.run(pairs, truncate=self.settings.truncate, timeout=self.settings.timeout)
        return answer(predictions(request, np.stack([row.output for row in rows]), entailment))

    async def own(self, body: dict[str, Any], name: str | None = None) -> Response:
        """What the model is for: the body is that of the path for its task."""
        name = name if name is not None else self.models.only(lambda folder: True)
        folder = self.models.folder(name or "")
        if folder.embeds:
            return await self.embed(_validated(EmbedRequest, body), name)
        if folder.ranks and "query" in body:
            return await self.rerank(_validated(RerankRequest, body), name)
        if isinstance(body.get("parameters"), dict) and "candidate_labels" in body["parameters"]:
            return await self.zero_shot(_validated(ZeroShotRequest, body), name or "")
        return await self.predict(_validated(PredictRequest, body), name)

    def info(self, name: str | None = None) -> Info:
        name = name if name is not None else self.models.only(lambda folder: True)
        runner, settings = self.models.get(name or ""), self.settings
        model_type: dict[str, ClassifierModel | EmbeddingModel]
        if runner.encoder.folder.embedding is not None:
            model_type = {"embedding": EmbeddingModel(pooling=runner.encoder.folder.embedding.pooling)}
        else:
            by_index = {str(index): label for index, label in enumerate(runner.encoder.labels)}
            classifier = ClassifierModel(id2label=by_index, label2id={v: int(k) for k, v in by_index.items()})
            model_type = {"reranker" if runner.encoder.folder.ranks else "classifier": classifier}
        return Info(
            model_id=name or "",
            model_dtype=runner.encoder.precision,
            model_type=model_type,
            max_concurrent_requests=settings.max_requests,
            max_input_length=runner.encoder.longest,
            max_batch_tokens=settings.max_batch_tokens,
            max_batch_requests=settings.max_batch,
            max_client_batch_size=settings.max_texts,
            auto_truncate=settings.truncate,
            tokenization_workers=1,
            version=optkit.__version__,
        )


def _joined(texts: Any) -> Text:
    """A text, or a list of one or two, as one input."""
    if isinstance(texts, str):
        return texts
    return texts[0] if len(texts) == 1 else (texts[0], texts[1])


def _predictions(shares: np.ndarray, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Labels with their scores, the highest first."""
    found = shares.tolist()
    return [{"score": found[i], "label": labels[i]} for i in sorted(range(len(found)), key=lambda i: -found[i])]


def _entities(text: Any, row: Row, runner: ModelRunner) -> list[dict[str, Any]]:
    encoding = row.tokens.encoding
    found = entities(row.output, encoding.offsets, encoding.word_ids, runner.encoder.labels)
    return [entity | {"word": text[entity["start"] : entity["end"]]} for entity in found]


_Request = TypeVar("_Request", bound=BaseModel)


def _validated(kind: type[_Request], body: dict[str, Any]) -> _Request:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise RequestValidationError([each | {"loc": ("body", *each["loc"])} for each in error.errors()]) from None


#: The parameter of a path for one of several models: handlers read it where there is one.
_NAME: dict[str, Any] = {
    "openapi_extra": {
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
    }
}
_Own = list[list[float]] | list[Rank] | _Predictions


def router(models: Models, settings: Settings) -> APIRouter:
    """The paths of the interface, each for the only model that suits and for one of several."""
    tei, found = _Tei(models, settings), APIRouter(tags=["Text Embeddings Inference"], responses=_ERRORS)

    def name_in(http: Request) -> str | None:
        return http.path_params.get("name")

    @found.post("/models/{name}/embed", response_model=list[list[float]], **_NAME)
    @found.post("/embed", response_model=list[list[float]])
    async def embed(http: Request, request: EmbedRequest) -> Response:
        """Embeddings of texts."""
        return await tei.embed(request, name_in(http))

    @found.post("/models/{name}/rerank", response_model=list[Rank], **_NAME)
    @found.post("/rerank", response_model=list[Rank])
    async def rerank(http: Request, request: RerankRequest) -> Response:
        """Texts by how well they answer the query, the best first."""
        return await tei.rerank(request, name_in(http))

    @found.post("/models/{name}/predict", response_model=_Predictions, **_NAME)
    @found.post("/predict", response_model=_Predictions)
    async def predict(http: Request, request: PredictRequest) -> Response:
        """Classes of texts or of pairs, the most probable first; entities of a model that finds those."""
        return await tei.predict(request, name_in(http))

    @found.get("/models/{name}/info", **_NAME)
    @found.get("/info")
    async def info(http: Request) -> Info:
        """The model and the limits of requests."""
        return tei.info(name_in(http))

    @found.post("/models/{name}", response_model=_Own, **_NAME)
    @found.post("/", response_model=_Own)
    async def own(http: Request, body: dict[str, Any]) -> Response:
        """What the model is for, by the body of /embed, /rerank or /predict, or with candidate_labels in parameters, a
        text's class of those; clients of the Hub's inference ask so.
        """
        return await tei.own(body, name_in(http))

    return found
