"""OpenAI's embeddings: requests written, vectors read in either encoding, exactly and in order."""

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.schemas.openai.embeddings import NAME, OpenAIEmbeddings, decode_answer, encode_answer, encode_request
from gateway.types import EmbeddingPurpose, EmbeddingsAnswer, EmbeddingsRequest, Usage
from tests.support import recordings

vectors = st.lists(st.lists(st.floats(width=32, allow_nan=False), max_size=5), max_size=4)


def base64_of(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def answer(*embeddings: object, **fields: object) -> bytes:
    data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(embeddings)]
    return json.dumps({"object": "list", "model": "m", "data": data, **fields}).encode()


def test_request() -> None:
    request = EmbeddingsRequest(model="asked", input=("a", "b"))
    assert json.loads(encode_request(request, "sent")) == {
        "model": "sent",
        "input": ["a", "b"],
        "encoding_format": "base64",
    }


def test_request_with_every_field() -> None:
    request = EmbeddingsRequest(model="asked", input=("a",), dimensions=3, user="u")
    assert json.loads(encode_request(request, "sent")) == {
        "model": "sent",
        "input": ["a"],
        "dimensions": 3,
        "user": "u",
        "encoding_format": "base64",
    }


def decode(**fields: Any) -> EmbeddingsRequest:
    return OpenAIEmbeddings().decode_request(json.dumps({"model": "m", **fields}).encode(), "asked")


def test_request_is_read() -> None:
    assert decode(input="a") == EmbeddingsRequest(model="asked", input=("a",), dialect=NAME)
    full = decode(input=["a", ""], dimensions=3, user="u", encoding_format="base64", truncate=True)
    assert full == EmbeddingsRequest(
        model="asked",
        input=("a", ""),
        dimensions=3,
        user="u",
        as_base64=True,
        dialect=NAME,
        extra={"truncate": True},
    )
    assert json.loads(encode_request(full, "sent"))["truncate"] is True


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [[1, 2]]}, "input"),
        ({"input": "a", "dimensions": "3"}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff"])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        OpenAIEmbeddings().decode_request(body, "asked")


def test_vectors_without_a_purpose_are_for_every_purpose() -> None:
    asked = EmbeddingsRequest(model="asked", input=("a",))
    for purpose in EmbeddingPurpose:
        assert encode_request(replace(asked, purpose=purpose), "sent") == encode_request(asked, "sent")


def test_what_openai_has_no_place_for() -> None:
    request = EmbeddingsRequest(model="asked", input=("a",), dialect="other", extra={"title": "t"})
    with pytest.raises(InvalidRequestError) as caught:
        encode_request(request, "sent")
    assert (caught.value.param, caught.value.reason) == ("title", "UNSUPPORTED_FIELD")
    assert json.loads(encode_request(request, "sent", drop_unsupported=True)).keys() == {
        "model",
        "input",
        "encoding_format",
    }


@pytest.mark.parametrize("as_base64", [False, True])
@given(written=vectors)
def test_answer_written_and_read_again(as_base64: bool, written: list[list[float]]) -> None:
    request = EmbeddingsRequest(model="m", input=("a",), as_base64=as_base64)
    finite = tuple(tuple(number for number in vector if abs(number) < 1e30) for vector in written)
    answer = EmbeddingsAnswer(model="asked", vectors=finite, usage=Usage(input_tokens=3))
    told = encode_answer(answer, request, "asked")
    assert decode_answer(told) == answer
    assert all(isinstance(each["embedding"], str) is as_base64 for each in json.loads(told)["data"])


@given(vectors)
def test_base64_is_exact(written: list[list[float]]) -> None:
    read = decode_answer(answer(*map(base64_of, written)))
    assert read.vectors == tuple(map(tuple, written))


@given(st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5), max_size=4))
def test_numbers_are_exact(written: list[list[float]]) -> None:
    assert decode_answer(answer(*written)).vectors == tuple(map(tuple, written))


@given(st.permutations(range(5)))
def test_vectors_stand_in_the_order_of_the_texts(order: list[int]) -> None:
    data = [{"index": index, "embedding": [float(index)]} for index in order]
    assert decode_answer(json.dumps({"data": data}).encode()).vectors == tuple((float(index),) for index in range(5))


def test_usage_and_model_may_be_missing() -> None:
    read = decode_answer(b'{"data":[{"embedding":[1]}]}')
    assert (read.model, read.vectors, read.usage) == ("", ((1.0,),), Usage())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"data":null}',
        b'{"data":[{}]}',
        b'{"data":[{"embedding":null}]}',
        b'{"data":[{"embedding":["a"]}]}',
        b'{"data":[{"embedding":"not base64"}]}',
        b'{"data":[{"embedding":"AAAAAA=="}],"x":1',
        b'{"data":[{"embedding":"AAAA"}]}',  # three bytes are no number
        b'{"data":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"error":{"message":"no"}}',
    ],
)
def test_what_is_no_answer_is_an_error_of_the_upstream(body: bytes) -> None:
    with pytest.raises(BadGatewayError, match="cannot be understood") as caught:
        decode_answer(body)
    assert caught.value.reason == "UPSTREAM_MALFORMED"


def vector_in(embedding: Any) -> tuple[float, ...]:
    if isinstance(embedding, str):
        raw = base64.b64decode(embedding)
        return tuple(struct.unpack_from("<f", raw, place)[0] for place in range(0, len(raw), 4))
    return tuple(embedding)


ANSWERS = [name for name in recordings.names(["embeddings"]) if "error" not in name]


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_answer_is_read_without_loss(name: str) -> None:
    recording = recordings.load(name)
    written = recording.json()
    read = decode_answer(recording.answer)
    assert read.vectors == tuple(vector_in(item["embedding"]) for item in written["data"])
    assert all(read.vectors)
    assert read.model == written["model"]
    assert read.usage == Usage(input_tokens=written["usage"]["prompt_tokens"])
