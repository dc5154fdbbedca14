"""Embeddings of Vertex AI: instances for `predict`, and predictions."""

import json
from typing import Any

import pytest

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.schemas.gemini.embeddings import NAME as GEMINI_EMBEDDINGS
from gateway.schemas.gemini.vertex_embeddings import VertexEmbeddings
from gateway.types import EmbeddingPurpose, EmbeddingsRequest, Usage

EMBED = VertexEmbeddings()


def encode(*, drop: bool = False, **fields: Any) -> Any:
    request = EmbeddingsRequest(model="asked", input=("a", "b"), **fields)
    return json.loads(EMBED.encode_request(request, "text-embedding-005", drop_unsupported=drop))


def test_request() -> None:
    assert encode() == {"instances": [{"content": "a"}, {"content": "b"}]}
    extra = {"title": "t", "autoTruncate": False}
    assert encode(purpose=EmbeddingPurpose.DOCUMENT, dimensions=3, dialect=GEMINI_EMBEDDINGS, extra=extra) == {
        "instances": [
            {"content": "a", "task_type": "RETRIEVAL_DOCUMENT", "title": "t"},
            {"content": "b", "task_type": "RETRIEVAL_DOCUMENT", "title": "t"},
        ],
        "parameters": {"outputDimensionality": 3, "autoTruncate": False},
    }


@pytest.mark.parametrize(
    ("param", "fields"), [("user", {"user": "u"}), ("title", {"dialect": "other", "extra": {"title": "t"}})]
)
def test_what_it_has_no_place_for(param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encode(**fields)
    assert caught.value.param == param
    assert encode(drop=True, **fields) == encode()


@pytest.mark.parametrize(
    ("statistics", "usage"), [({"token_count": 2, "truncated": False}, Usage(input_tokens=4)), ({}, None), (None, None)]
)
def test_answer(statistics: Any, usage: Usage | None) -> None:
    prediction = {"embeddings": {"values": [0.5, -1], "statistics": statistics}}
    body = json.dumps({"predictions": [prediction, prediction], "metadata": {}}).encode()
    told = EMBED.decode_answer(body)
    assert told.vectors == ((0.5, -1.0), (0.5, -1.0))
    assert told.usage == (usage or Usage())
    assert EMBED.read_usage(body) == usage


@pytest.mark.parametrize("body", [b"", b"{}", b'{"predictions":[{}]}', b'{"error":{}}', b"\xff"])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadGatewayError):
        EMBED.decode_answer(body)
    assert EMBED.read_usage(body) is None
