"""Cohere's `/v2/embed` as a dialect: relayed as it is, and translated."""

import base64
import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.cohere.usage import UsageFields
from gateway.schemas.cohere.wire import CohereDialect
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported
from gateway.types import EmbeddingPurpose, EmbeddingsAnswer, EmbeddingsRequest, Usage

NAME = "cohere_embed"

_PURPOSES: Mapping[str, EmbeddingPurpose] = MappingProxyType(
    {
        "search_document": EmbeddingPurpose.DOCUMENT,
        "search_query": EmbeddingPurpose.QUERY,
        "classification": EmbeddingPurpose.CLASSIFICATION,
        "clustering": EmbeddingPurpose.CLUSTERING,
    }
)
_INPUT_TYPES = {purpose: word for word, purpose in _PURPOSES.items()}

# Models want to be told; most vectors are made to be searched.
_DEFAULT_INPUT_TYPE = "search_document"


class Vectors(msgspec.Struct, rename={"floats": "float"}):
    """Vectors by the type that was asked for."""

    floats: list[list[float]] | None = None
    base64: list[str] | None = None


class _Answer(msgspec.Struct):
    """`embeddings` are lists of numbers alone where no type was asked for."""

    embeddings: Vectors | list[list[float]]
    meta: UsageFields | None = None


_decoder = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class CohereEmbeddings(CohereDialect):
    """See `EmbeddingsDialect`."""

    posted_to: str = "/v2/embed"
    name: str = NAME

    def decode_request(self, body: bytes, model: str) -> EmbeddingsRequest:
        """JSON to canonical."""
        try:
            return _decode_request(Fields.parse(body), model)
        except FieldError as error:
            raise InvalidRequestError(str(error), param=error.param or None) from None

    def encode_request(self, request: EmbeddingsRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        unsupported = Unsupported("Cohere's embeddings", drop=drop_unsupported)
        return msgspec.json.encode({"model": model, **encode_fields(request, unsupported)})

    def decode_answer(self, body: bytes) -> EmbeddingsAnswer:
        """JSON to vectors. Raises `BadGatewayError`."""
        try:
            answer = _decoder.decode(body)
            vectors = tuple(read_vectors(answer.embeddings))
        except (*UNREADABLE, ValueError, struct.error) as error:
            raise malformed(error) from None
        usage = answer.meta.to_usage() if answer.meta is not None else Usage()
        return EmbeddingsAnswer(model="", vectors=vectors, usage=usage)

    def encode_answer(self, answer: EmbeddingsAnswer, request: EmbeddingsRequest, model: str) -> bytes:
        """Vectors to JSON, in the form that was asked for."""
        embeddings = {"base64": [_base64(each) for each in answer.vectors]} if request.as_base64 else None
        counts = {"input_tokens": answer.usage.input_tokens}
        return msgspec.json.encode(
            {
                "id": hashlib.sha256(msgspec.json.encode((model, request.input))).hexdigest()[:32],
                "embeddings": embeddings or {"float": answer.vectors},
                "texts": request.input,
                "meta": {"api_version": {"version": "2"}, "billed_units": counts},
                "response_type": "embeddings_by_type",
            }
        )


def encode_fields(request: EmbeddingsRequest, unsupported: Unsupported) -> dict[str, Any]:
    """The fields of a request beside its model."""
    if request.user is not None:
        unsupported.field("user")
    fields: dict[str, Any] = {
        "texts": request.input,
        "input_type": _input_type(request.purpose, unsupported),
        "embedding_types": ["float"],
        "output_dimension": request.dimensions,
    }
    for name, value in (request.extra or {}).items():
        if request.dialect not in ("", NAME):
            unsupported.field(name)
        elif name in fields or name == "model":
            raise InvalidRequestError(
                f"'{name}' has a field of its own and cannot be in 'extra'", param=f"extra.{name}"
            )
        else:
            fields[name] = value
    return {name: value for name, value in fields.items() if value is not None}


def _decode_request(fields: Fields, model: str) -> EmbeddingsRequest:
    fields.value("model")
    types = fields.strings("embedding_types")
    if types not in ((), ("float",), ("base64",)):
        raise fields.wrong("embedding_types", "one of float and base64 can be had from every backend")
    if fields.has("images"):
        raise fields.wrong("images", "pictures are understood by few backends; send texts")
    texts = fields.strings("texts") or tuple(_texts_of_inputs(fields))
    if not texts:
        raise fields.wrong("texts", "an array of texts is needed")
    return EmbeddingsRequest(
        model=model,
        input=texts,
        dimensions=fields.integer("output_dimension"),
        purpose=_decode_purpose(fields),
        as_base64=types == ("base64",),
        dialect=NAME,
        extra=fields.extra or None,
    )


def _texts_of_inputs(fields: Fields) -> Iterator[str]:
    """The texts in `inputs`, which may also be of pictures."""
    for entry in fields.objects("inputs", required=False):
        contents = entry.objects("content", required=True)
        for content in contents:
            if content.text("type") != "text":
                raise content.wrong("type", "pictures are understood by few backends; send texts")
        yield "".join(content.text("text") for content in contents)


def _decode_purpose(fields: Fields) -> EmbeddingPurpose | None:
    word = fields.optional_text("input_type")
    if word is None:
        return None
    if word not in _PURPOSES:
        raise fields.wrong("input_type", f"'{word}' is not known here; known: {', '.join(_PURPOSES)}")
    return _PURPOSES[word]


def _input_type(purpose: EmbeddingPurpose | None, unsupported: Unsupported) -> str:
    if purpose is None:
        return _DEFAULT_INPUT_TYPE
    if purpose not in _INPUT_TYPES:
        unsupported.field("purpose", f"the purpose '{purpose}'")
        return _DEFAULT_INPUT_TYPE
    return _INPUT_TYPES[purpose]


def read_vectors(embeddings: Vectors | list[list[float]]) -> Iterator[tuple[float, ...]]:
    """The vectors in an answer. Raises `ValueError` and `struct.error` for what are none."""
    if isinstance(embeddings, list):
        yield from map(tuple, embeddings)
    elif embeddings.floats is not None:
        yield from map(tuple, embeddings.floats)
    else:
        for written in embeddings.base64 or ():
            raw = base64.b64decode(written, validate=True)
            yield struct.unpack(f"<{len(raw) // 4}f", raw)


def _base64(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
