"""OpenAI's embeddings as a dialect: relayed as they are, and translated."""

import base64
import struct
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE, UsageFields
from gateway.schemas.openai.wire import OpenAIDialect
from gateway.schemas.unsupported import Unsupported
from gateway.types import EmbeddingsAnswer, EmbeddingsRequest, Usage

NAME = "openai_embeddings"


@dataclass(frozen=True, slots=True)
class OpenAIEmbeddings(OpenAIDialect):
    """See `EmbeddingsDialect`."""

    posted_to: str = "/v1/embeddings"
    name: str = NAME

    def decode_request(self, body: bytes, model: str) -> EmbeddingsRequest:
        """JSON to canonical."""
        try:
            return _decode_request(Fields.parse(body), model)
        except FieldError as error:
            raise InvalidRequestError(error.message, param=error.param or None) from None

    def encode_request(self, request: EmbeddingsRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        return encode_request(request, model, drop_unsupported=drop_unsupported)

    def decode_answer(self, body: bytes) -> EmbeddingsAnswer:
        """JSON to vectors."""
        return decode_answer(body)

    def encode_answer(self, answer: EmbeddingsAnswer, request: EmbeddingsRequest, model: str) -> bytes:
        """Vectors to JSON."""
        return encode_answer(answer, request, model)


class _Embedding(msgspec.Struct):
    embedding: list[float] | str
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Embedding]
    model: str | None = None
    usage: UsageFields | None = None


_decoder = msgspec.json.Decoder(_Answer)


def _decode_request(fields: Fields, model: str) -> EmbeddingsRequest:
    fields.value("model")
    texts = fields.value("input")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not texts:
        raise fields.wrong("input", "a text or an array of texts is needed")
    if not all(isinstance(text, str) for text in texts):
        raise fields.wrong("input", "tokens are understood only by the model they were made for; send texts")
    encoding = fields.text("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise fields.wrong("encoding_format", f"'{encoding}' is not an encoding; known: float, base64")
    return EmbeddingsRequest(
        model=model,
        input=tuple(texts),
        dimensions=fields.integer("dimensions"),
        user=fields.optional_text("user"),
        as_base64=encoding == "base64",
        dialect=NAME,
        extra=fields.extra or None,
    )


def encode_request(request: EmbeddingsRequest, model: str, *, drop_unsupported: bool = False) -> bytes:
    """The JSON body that asks `model`. Vectors are asked for as base64: a third of the size and exact."""
    unsupported = Unsupported("OpenAI's embeddings", drop=drop_unsupported)
    fields: dict[str, Any] = {
        "model": model,
        "input": request.input,
        "dimensions": request.dimensions,
        "user": request.user,
        "encoding_format": "base64",
    }
    for name, value in (request.extra or {}).items():
        if request.dialect == NAME:
            fields.setdefault(name, value)
        else:
            unsupported.field(name)
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def encode_answer(answer: EmbeddingsAnswer, request: EmbeddingsRequest, model: str) -> bytes:
    """The answer, each vector in the form that was asked for."""
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if request.as_base64 else vector}
        for index, vector in enumerate(answer.vectors)
    ]
    tokens = answer.usage.input_tokens
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def decode_answer(body: bytes) -> EmbeddingsAnswer:
    """The vectors, in the order of the texts. Servers that do not know base64 answer with lists of numbers.

    Raises `BadGatewayError` for what is not an answer in this format.
    """
    try:
        answer = _decoder.decode(body)
        ordered = sorted(answer.data, key=lambda item: item.index)
        vectors = tuple(_vector(item.embedding) for item in ordered)
    except (*UNREADABLE, ValueError, struct.error) as error:
        raise malformed(error) from None
    usage = answer.usage.to_usage() if answer.usage else Usage()
    return EmbeddingsAnswer(model=answer.model or "", vectors=vectors, usage=usage)


def _vector(embedding: list[float] | str) -> tuple[float, ...]:
    if isinstance(embedding, str):
        raw = base64.b64decode(embedding, validate=True)
        return struct.unpack(f"<{len(raw) // 4}f", raw)
    return tuple(embedding)
