"""Gemini's embeddings as dialects: many texts by `batchEmbedContents`, one by `embedContent`."""

from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.gemini.fields import read_inner, read_items, read_object
from gateway.schemas.gemini.generate_content import name_model
from gateway.schemas.gemini.usage import UsageFields, usage_fields
from gateway.schemas.gemini.whole import GeminiMethod
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported
from gateway.types import EmbeddingPurpose, EmbeddingsAnswer, EmbeddingsRequest, Usage

NAME = "gemini_embed_contents"

TASKS = {
    EmbeddingPurpose.DOCUMENT: "RETRIEVAL_DOCUMENT",
    EmbeddingPurpose.QUERY: "RETRIEVAL_QUERY",
    EmbeddingPurpose.CLASSIFICATION: "CLASSIFICATION",
    EmbeddingPurpose.CLUSTERING: "CLUSTERING",
    EmbeddingPurpose.SIMILARITY: "SEMANTIC_SIMILARITY",
}
_PURPOSES = {task: purpose for purpose, task in TASKS.items()}


class _Vector(msgspec.Struct):
    values: list[float]


class _Answer(msgspec.Struct, rename="camel"):
    """The answer of either method."""

    embeddings: list[_Vector] | None = None
    embedding: _Vector | None = None
    usage_metadata: UsageFields | None = None


_decoder = msgspec.json.Decoder(_Answer)
_batch_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class GeminiEmbeddings(GeminiMethod):
    """One of the two methods. What they have in common."""

    name: str = NAME

    def with_request_model(self, body: bytes, asked: str, model: str) -> bytes:
        """The request with that model wherever it names one."""
        return name_model(body, model)

    def read_usage(self, body: bytes) -> Usage | None:
        """The usage, which newer models tell."""
        try:
            usage = _decoder.decode(body).usage_metadata
        except UNREADABLE:
            return None
        return usage.to_usage() if usage else None

    def decode_answer(self, body: bytes) -> EmbeddingsAnswer:
        """JSON to vectors. Raises `BadGatewayError` for what is no answer."""
        try:
            answer = _decoder.decode(body)
        except UNREADABLE as error:
            raise malformed(error) from None
        vectors = [answer.embedding] if answer.embedding is not None else answer.embeddings
        if vectors is None:
            raise malformed("it has no vectors")
        usage = answer.usage_metadata.to_usage() if answer.usage_metadata else Usage()
        return EmbeddingsAnswer(model="", vectors=tuple(tuple(vector.values) for vector in vectors), usage=usage)


@dataclass(frozen=True, slots=True)
class GeminiBatchEmbedContents(GeminiEmbeddings):
    """See `EmbeddingsDialect`."""

    method: str = "batchEmbedContents"

    def with_request_model(self, body: bytes, asked: str, model: str) -> bytes:
        """The request with that model, which each of its texts names."""
        try:
            fields = _batch_decoder.decode(body)
            requests = _raw_list_decoder.decode(fields.get("requests", b"[]"))
        except UNREADABLE:
            return body
        fields["requests"] = msgspec.Raw(
            msgspec.json.encode([msgspec.Raw(name_model(bytes(each), model)) for each in requests])
        )
        return name_model(msgspec.json.encode(fields), model)

    def decode_request(self, body: bytes, model: str) -> EmbeddingsRequest:
        """JSON to canonical. What is said of the texts must be the same for all."""
        try:
            fields = read_object(Fields.parse(body).extra, "")
            texts = [_decode_text(each, model) for each in read_items(fields, "requests")]
            if not texts:
                raise fields.wrong("requests", "at least one request is needed")
            for index, text in enumerate(texts):
                if _settings(text) != _settings(texts[0]):
                    raise fields.wrong(f"requests[{index}]", "all must be for the same purpose and of the same size")
        except FieldError as error:
            raise InvalidRequestError(str(error), param=error.param or None) from None
        first = texts[0]
        return EmbeddingsRequest(
            model=model,
            input=tuple(each.input[0] for each in texts),
            dimensions=first.dimensions,
            purpose=first.purpose,
            dialect=NAME,
            extra=first.extra,
        )

    def encode_request(self, request: EmbeddingsRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        unsupported = Unsupported("Gemini's embeddings", drop=drop_unsupported)
        settings = _encode_settings(request, model, unsupported)
        return msgspec.json.encode(
            {"requests": [{**settings, "content": {"parts": [{"text": text}]}} for text in request.input]}
        )

    def encode_answer(self, answer: EmbeddingsAnswer, request: EmbeddingsRequest, model: str) -> bytes:
        """Vectors to JSON."""
        vectors = [{"values": vector} for vector in answer.vectors]
        return msgspec.json.encode({"embeddings": vectors, "usageMetadata": _usage(answer.usage)})


@dataclass(frozen=True, slots=True)
class GeminiEmbedContent(GeminiEmbeddings):
    """See `EmbeddingsDialect`. One text: other dialects are translated to the batch."""

    method: str = "embedContent"

    def decode_request(self, body: bytes, model: str) -> EmbeddingsRequest:
        """JSON to canonical."""
        try:
            return _decode_text(read_object(Fields.parse(body).extra, ""), model)
        except FieldError as error:
            raise InvalidRequestError(str(error), param=error.param or None) from None

    def encode_request(self, request: EmbeddingsRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        if len(request.input) != 1:
            raise InvalidRequestError("embedContent takes one text", reason="UNSUPPORTED_FIELD", param="input")
        unsupported = Unsupported("Gemini's embeddings", drop=drop_unsupported)
        settings = _encode_settings(request, model, unsupported)
        return msgspec.json.encode({**settings, "content": {"parts": [{"text": request.input[0]}]}})

    def encode_answer(self, answer: EmbeddingsAnswer, request: EmbeddingsRequest, model: str) -> bytes:
        """The vector to JSON."""
        vector = answer.vectors[0] if answer.vectors else ()
        return msgspec.json.encode({"embedding": {"values": vector}, "usageMetadata": _usage(answer.usage)})


def _decode_text(fields: Fields, model: str) -> EmbeddingsRequest:
    fields.value("model")
    content = fields.value("content")
    if isinstance(content, str):
        content = {"parts": [{"text": content}]}
    inner = read_object(content, fields.place_of("content"))
    texts = [part.text("text") for part in read_items(inner, "parts", lambda text: {"text": text})]
    if not texts:
        raise inner.wrong("parts", "a text is needed")
    # Newer clients put the settings into an object of their own.
    config = read_inner(fields, "embedContentConfig")
    task = fields.optional_text("taskType") or config.optional_text("taskType")
    dimensions = fields.integer("outputDimensionality")
    own = {**fields.extra, **config.extra}
    if task is not None and task not in (*_PURPOSES, "TASK_TYPE_UNSPECIFIED"):
        own["taskType"] = task
    return EmbeddingsRequest(
        model=model,
        input=("".join(texts),),
        dimensions=config.integer("outputDimensionality") if dimensions is None else dimensions,
        purpose=_PURPOSES.get(task or ""),
        dialect=NAME,
        extra=own or None,
    )


def _settings(request: EmbeddingsRequest) -> tuple[object, ...]:
    return request.dimensions, request.purpose, request.extra


def _encode_settings(request: EmbeddingsRequest, model: str, unsupported: Unsupported) -> dict[str, Any]:
    fields: dict[str, Any] = {"model": f"models/{model.removeprefix('models/')}"}
    if request.dimensions is not None:
        fields["outputDimensionality"] = request.dimensions
    if request.purpose is not None:
        fields["taskType"] = TASKS[request.purpose]
    if request.user is not None:
        unsupported.field("user")
    for name, value in (request.extra or {}).items():
        if request.dialect == NAME:
            fields.setdefault(name, value)
        else:
            unsupported.field(name)
    return fields


def _usage(usage: Usage) -> dict[str, Any]:
    return {"promptTokenCount": usage_fields(usage)["promptTokenCount"]}
