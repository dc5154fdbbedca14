"""Cohere's embeddings: requests and vectors, to canonical and back, and between them and OpenAI's."""

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.schemas.cohere.embeddings import CohereEmbeddings
from gateway.schemas.openai.embeddings import OpenAIEmbeddings
from gateway.types import EmbeddingPurpose, EmbeddingsAnswer, EmbeddingsRequest, Usage

EMBED = CohereEmbeddings()
OPENAI = OpenAIEmbeddings()
vectors = st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=5), max_size=4)


def decode(**fields: Any) -> EmbeddingsRequest:
    return EMBED.decode_request(json.dumps({"model": "m", **fields}).encode(), "asked")


def encode(request: EmbeddingsRequest, *, drop: bool = False) -> Any:
    return json.loads(EMBED.encode_request(request, "sent", drop_unsupported=drop))


def test_request_and_its_way_back() -> None:
    fields = {"texts": ["a", "b"], "input_type": "search_query", "output_dimension": 256, "truncate": "END"}
    request = decode(**fields, embedding_types=["base64"])
    assert request == EmbeddingsRequest(
        model="asked",
        input=("a", "b"),
        dimensions=256,
        purpose=EmbeddingPurpose.QUERY,
        as_base64=True,
        dialect="cohere_embed",
        extra={"truncate": "END"},
    )
    assert encode(request) == {"model": "sent", **fields, "embedding_types": ["float"]}


@pytest.mark.parametrize("purpose", EmbeddingPurpose)
def test_purpose(purpose: EmbeddingPurpose) -> None:
    request = EmbeddingsRequest(model="m", input=("a",), purpose=purpose)
    if purpose is EmbeddingPurpose.SIMILARITY:
        with pytest.raises(InvalidRequestError) as refused:
            encode(request)
        assert refused.value.param == "purpose"
        assert encode(request, drop=True)["input_type"] == "search_document"
    else:
        assert decode(texts=["a"], input_type=encode(request)["input_type"]).purpose is purpose


def test_texts_among_inputs() -> None:
    inputs = [{"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, {"content": []}]
    assert decode(inputs=inputs).input == ("ab", "")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({}, "texts"),
        ({"texts": [5]}, "texts[0]"),
        ({"texts": ["a"], "input_type": "image"}, "input_type"),
        ({"texts": ["a"], "embedding_types": ["int8"]}, "embedding_types"),
        ({"images": ["data:"]}, "images"),
        ({"inputs": [{"content": [{"type": "image_url"}]}]}, "inputs[0].content[0].type"),
    ],
)
def test_error_names_the_place(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        decode(**fields)
    assert refused.value.param == place


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (EmbeddingsRequest(model="m", input=("a",), user="u"), "user"),
        (EmbeddingsRequest(model="m", input=("a",), dialect="openai_embeddings", extra={"x": 1}), "x"),
        (EmbeddingsRequest(model="m", input=("a",), extra={"texts": []}), "extra.texts"),
    ],
)
def test_what_cannot_be_carried_is_refused(request_: EmbeddingsRequest, param: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        encode(request_)
    assert refused.value.param == param


@given(vectors, st.booleans())
def test_vectors_are_exact_in_either_form(written: list[list[float]], as_base64: bool) -> None:
    answer = EmbeddingsAnswer(model="", vectors=tuple(map(tuple, written)), usage=Usage(input_tokens=3))
    request = EmbeddingsRequest(model="m", input=tuple("x" for _ in written), as_base64=as_base64)
    body = EMBED.encode_answer(answer, request, "asked")
    assert list(json.loads(body)["embeddings"]) == ["base64" if as_base64 else "float"]
    assert EMBED.decode_answer(body) == answer
    assert EMBED.read_usage(body) == answer.usage


def test_vectors_without_a_type() -> None:
    assert EMBED.decode_answer(b'{"embeddings":[[1,2.5]]}').vectors == ((1.0, 2.5),)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"embeddings":5}', b'{"embeddings":{"base64":["a"]}}', b"\xff"])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadGatewayError) as failed:
        EMBED.decode_answer(body)
    assert failed.value.reason == "UPSTREAM_MALFORMED"


def test_between_openai_and_cohere() -> None:
    asked = OPENAI.decode_request(b'{"model":"m","input":["a"],"dimensions":2,"encoding_format":"base64"}', "m")
    assert encode(asked) == {
        "model": "sent",
        "texts": ["a"],
        "input_type": "search_document",
        "embedding_types": ["float"],
        "output_dimension": 2,
    }
    answer = EMBED.decode_answer(b'{"embeddings":{"float":[[0.5,1]]},"meta":{"billed_units":{"input_tokens":1}}}')
    given = json.loads(OPENAI.encode_answer(answer, asked, "m"))
    assert base64.b64decode(given["data"][0]["embedding"]) == struct.pack("<2f", 0.5, 1)
    assert given["usage"]["prompt_tokens"] == 1

    back = decode(texts=["a"], output_dimension=2)
    sent = json.loads(OPENAI.encode_request(back, "sent", drop_unsupported=False))
    assert (sent["input"], sent["dimensions"]) == (["a"], 2)
