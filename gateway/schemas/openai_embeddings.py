"""OpenAI's embeddings: canonical requests to JSON, JSON answers to canonical ones."""

import base64
import struct

import msgspec

from gateway.errors import BadGatewayError
from gateway.schemas.openai_fields import UNREADABLE, UsageFields
from gateway.types import EmbeddingsAnswer, EmbeddingsRequest, Usage


class _Embedding(msgspec.Struct):
    embedding: list[float] | str
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Embedding]
    model: str | None = None
    usage: UsageFields | None = None


_decoder = msgspec.json.Decoder(_Answer)


def encode_request(request: EmbeddingsRequest, model: str) -> bytes:
    """The JSON body that asks `model`. Vectors are asked for as base64: a third of the size and exact."""
    fields = {
        "model": model,
        "input": request.input,
        "dimensions": request.dimensions,
        "user": request.user,
        "encoding_format": "base64",
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def decode_answer(body: bytes) -> EmbeddingsAnswer:
    """The vectors, in the order of the texts. Servers that do not know base64 answer with lists of numbers.

    Raises `BadGatewayError` for what is not an answer in this format.
    """
    try:
        answer = _decoder.decode(body)
        ordered = sorted(answer.data, key=lambda item: item.index)
        vectors = tuple(_vector(item.embedding) for item in ordered)
    except (*UNREADABLE, ValueError, struct.error) as error:
        raise BadGatewayError(
            f"the upstream's answer cannot be understood: {error}", reason="UPSTREAM_MALFORMED"
        ) from None
    usage = answer.usage.to_usage() if answer.usage else Usage()
    return EmbeddingsAnswer(model=answer.model or "", vectors=vectors, usage=usage)


def _vector(embedding: list[float] | str) -> tuple[float, ...]:
    if isinstance(embedding, str):
        raw = base64.b64decode(embedding, validate=True)
        return struct.unpack(f"<{len(raw) // 4}f", raw)
    return tuple(embedding)
