"""Embeddings of Bedrock's models, each as its maker has them (`InvokeModel`): those of Titan, Nova and Cohere.

Only backends speak this: which maker's form a request has, the model's name tells, and an answer its fields.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec

from gateway.schemas.bedrock.wire import BedrockDialect
from gateway.schemas.cohere import embeddings as cohere
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported, UnsupportedByBackendError
from gateway.types import EmbeddingPurpose, EmbeddingsAnswer, EmbeddingsRequest, Usage

NAME = "bedrock_embeddings"

_COUNTED = b"x-amzn-bedrock-input-token-count"

_Writer: TypeAlias = Callable[[EmbeddingsRequest, Unsupported], Mapping[str, Any]]

_NOVA_PURPOSES: Mapping[EmbeddingPurpose | None, str] = MappingProxyType(
    {
        # Most vectors are made to be searched.
        None: "GENERIC_INDEX",
        EmbeddingPurpose.DOCUMENT: "GENERIC_INDEX",
        EmbeddingPurpose.QUERY: "GENERIC_RETRIEVAL",
        EmbeddingPurpose.CLASSIFICATION: "CLASSIFICATION",
        EmbeddingPurpose.CLUSTERING: "CLUSTERING",
    }
)


class _NovaVector(msgspec.Struct):
    embedding: list[float]


class _Answer(msgspec.Struct, rename="camel"):
    """Titan's has `embedding`, Nova's and Cohere's have `embeddings`."""

    embedding: list[float] | None = None
    input_text_token_count: int | None = None
    embeddings: cohere.Vectors | list[list[float] | _NovaVector] | None = None


_decoder = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class BedrockEmbeddings(BedrockDialect):
    """See `WholeTarget`."""

    name: str = NAME

    def path(self, model: str, *, stream: bool) -> str:
        """The model, which may be an ARN, stands in the path."""
        return f"/model/{quote(model, safe='')}/invoke"

    def read_usage(self, body: bytes) -> Usage | None:
        """The usage, which only Titan tells."""
        try:
            tokens = _decoder.decode(body).input_text_token_count
        except UNREADABLE:
            return None
        return Usage(input_tokens=max(tokens, 0)) if tokens is not None else None

    def read_header_usage(self, headers: Iterable[tuple[bytes, bytes]]) -> Usage | None:
        """What Bedrock itself has counted, whatever the model's maker tells."""
        for name, value in headers:
            if name.lower() == _COUNTED and value.isdigit():
                return Usage(input_tokens=min(int(value[:20]), 2**63 - 1))
        return None

    def encode_request(self, request: EmbeddingsRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON, as the model's maker wants it."""
        for part, maker, write in _MAKERS:
            if part in model:
                return msgspec.json.encode(write(request, Unsupported(maker, drop=drop_unsupported)))
        known = ", ".join(part for part, _, _ in _MAKERS)
        raise UnsupportedByBackendError(
            f"how Bedrock's model '{model}' wants texts is not known; known are those named after {known}",
            reason="UNSUPPORTED_BY_SERVICE",
            param="model",
        )

    def decode_answer(self, body: bytes) -> EmbeddingsAnswer:
        """JSON to vectors. Raises `BadGatewayError`."""
        try:
            answer = _decoder.decode(body)
            vectors = _vectors(answer)
        except (*UNREADABLE, ValueError) as error:
            raise malformed(error) from None
        usage = Usage(input_tokens=max(answer.input_text_token_count or 0, 0))
        return EmbeddingsAnswer(model="", vectors=vectors, usage=usage)


def _vectors(answer: _Answer) -> tuple[tuple[float, ...], ...]:
    if answer.embedding is not None:
        return (tuple(answer.embedding),)
    if isinstance(answer.embeddings, cohere.Vectors):
        return tuple(cohere.read_vectors(answer.embeddings))
    if answer.embeddings is None:
        raise ValueError("it has no vectors")
    return tuple(tuple(each.embedding if isinstance(each, _NovaVector) else each) for each in answer.embeddings)


def _write_cohere(request: EmbeddingsRequest, unsupported: Unsupported) -> Mapping[str, Any]:
    return cohere.encode_fields(request, unsupported)


def _write_titan(request: EmbeddingsRequest, unsupported: Unsupported) -> Mapping[str, Any]:
    fields: dict[str, Any] = {"inputText": _only_text(request, unsupported)}
    if request.dimensions is not None:
        fields["dimensions"] = request.dimensions
    return fields


def _write_nova(request: EmbeddingsRequest, unsupported: Unsupported) -> Mapping[str, Any]:
    purpose = _NOVA_PURPOSES.get(request.purpose)
    if purpose is None:
        unsupported.field("purpose", f"the purpose '{request.purpose}'")
    params: dict[str, Any] = {
        "embeddingPurpose": purpose or _NOVA_PURPOSES[None],
        "text": {"truncationMode": "NONE", "value": _only_text(request, unsupported)},
    }
    if request.dimensions is not None:
        params["embeddingDimension"] = request.dimensions
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}


def _only_text(request: EmbeddingsRequest, unsupported: Unsupported) -> str:
    """The text, which must be the only one: the model takes no more in one request."""
    if len(request.input) != 1:
        raise UnsupportedByBackendError(
            f"{len(request.input)} texts in one request, of which this model takes one; send them one by one",
            param="input",
        )
    if request.user is not None:
        unsupported.field("user")
    for name in request.extra or ():
        unsupported.field(name)
    return request.input[0]


_MAKERS: Sequence[tuple[str, str, _Writer]] = (
    ("cohere.embed", "Cohere's embeddings on Bedrock", _write_cohere),
    ("amazon.titan-embed-text", "Titan's embeddings", _write_titan),
    ("amazon.titan-embed-g1-text", "Titan's embeddings", _write_titan),
    ("amazon.nova-2-multimodal-embeddings", "Nova's embeddings", _write_nova),
)
