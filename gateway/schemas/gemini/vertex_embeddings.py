"""Embeddings as Vertex AI has them: instances for `predict`. Only backends speak this."""

from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.schemas.gemini.embeddings import NAME as GEMINI_EMBEDDINGS
from gateway.schemas.gemini.embeddings import TASKS
from gateway.schemas.gemini.whole import GeminiMethod
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported
from gateway.types import EmbeddingsAnswer, EmbeddingsRequest, Usage

NAME = "vertex_embeddings"

# What Gemini's own clients may say beside the texts, and Vertex AI understands: of a text, and of the request.
_OF_INSTANCES = frozenset({"title"})
_OF_REQUESTS = frozenset({"autoTruncate"})


class _Statistics(msgspec.Struct):
    token_count: float | None = None


class _Vector(msgspec.Struct):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Vector


class _Answer(msgspec.Struct):
    predictions: list[_Prediction]


_decoder = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class VertexEmbeddings(GeminiMethod):
    """See `WholeTarget`."""

    method: str = "predict"
    name: str = NAME

    def with_request_model(self, body: bytes, asked: str, model: str) -> bytes:
        """As it is: the model stands in the path alone."""
        return body

    def read_usage(self, body: bytes) -> Usage | None:
        """The tokens of all texts."""
        try:
            return _usage(_decoder.decode(body))
        except UNREADABLE:
            return None

    def encode_request(self, request: EmbeddingsRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        unsupported = Unsupported("Vertex AI's embeddings", drop=drop_unsupported)
        of_each: dict[str, Any] = {}
        parameters: dict[str, Any] = {}
        if request.purpose is not None:
            of_each["task_type"] = TASKS[request.purpose]
        if request.dimensions is not None:
            parameters["outputDimensionality"] = request.dimensions
        if request.user is not None:
            unsupported.field("user")
        for name, value in (request.extra or {}).items():
            if request.dialect == GEMINI_EMBEDDINGS and name in _OF_INSTANCES:
                of_each[name] = value
            elif request.dialect == GEMINI_EMBEDDINGS and name in _OF_REQUESTS:
                parameters[name] = value
            else:
                unsupported.field(name)
        fields: dict[str, Any] = {"instances": [{"content": text, **of_each} for text in request.input]}
        return msgspec.json.encode(fields | ({"parameters": parameters} if parameters else {}))

    def decode_answer(self, body: bytes) -> EmbeddingsAnswer:
        """JSON to vectors. Raises `BadGatewayError`."""
        try:
            answer = _decoder.decode(body)
        except UNREADABLE as error:
            raise malformed(error) from None
        vectors = tuple(tuple(each.embeddings.values) for each in answer.predictions)
        return EmbeddingsAnswer(model="", vectors=vectors, usage=_usage(answer) or Usage())


def _usage(answer: _Answer) -> Usage | None:
    """What all texts together are, if it is told."""
    told = [each.embeddings.statistics for each in answer.predictions]
    counts = [each.token_count for each in told if each is not None and each.token_count is not None]
    return Usage(input_tokens=max(int(sum(counts)), 0)) if counts else None
