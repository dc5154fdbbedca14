"""Gemini's embeddings, of one text and of many: requests and vectors, read and written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import Failure
from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.schemas.gemini.embeddings import (
    NAME,
    GeminiBatchEmbedContents,
    GeminiEmbedContent,
    GeminiEmbeddings,
)
from gateway.schemas.openai.embeddings import OpenAIEmbeddings
from gateway.types import EmbeddingPurpose, EmbeddingsAnswer, EmbeddingsRequest, Usage
from tests.gateway.schemas import recorded_exchanges as recorded

BATCH = GeminiBatchEmbedContents()
ONE = GeminiEmbedContent()
OPENAI = OpenAIEmbeddings()


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"content": {"parts": [{"text": words}]}, **fields}


def decode(dialect: GeminiBatchEmbedContents | GeminiEmbedContent, **fields: Any) -> EmbeddingsRequest:
    return dialect.decode_request(json.dumps(fields).encode(), "asked")


def encode(request: EmbeddingsRequest, *, drop: bool = False) -> Any:
    return json.loads(BATCH.encode_request(request, "sent", drop_unsupported=drop))


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.names("gemini/batchEmbedContents/*"))
def test_recorded_exchange(name: str) -> None:
    exchange = recorded.load(name)
    model = exchange.url.rpartition("/")[2].partition(":")[0]
    assert exchange.url.endswith(BATCH.path(model, stream=False))
    canonical = BATCH.decode_request(exchange.body, model)
    assert json.loads(BATCH.encode_request(canonical, model, drop_unsupported=False)) == exchange.request
    answer = BATCH.decode_answer(exchange.answer)
    told = json.loads(exchange.answer)
    assert [list(vector) for vector in answer.vectors] == [each["values"] for each in told["embeddings"]]
    tokens = told.get("usageMetadata", {}).get("promptTokenCount", 0)
    assert answer.usage == Usage(input_tokens=tokens)
    assert BATCH.read_usage(exchange.answer) == (answer.usage if tokens else None)


def test_requests_of_a_batch_are_one() -> None:
    found = decode(
        BATCH,
        requests=[
            text(words, taskType="RETRIEVAL_QUERY", output_dimensionality=3, model="models/x") for words in ("a", "b")
        ],
    )
    assert found == EmbeddingsRequest(
        model="asked", input=("a", "b"), dimensions=3, purpose=EmbeddingPurpose.QUERY, dialect=NAME
    )


def test_request_for_one_text() -> None:
    found = decode(ONE, content={"parts": [{"text": "a"}, "b"]}, taskType="FACT_VERIFICATION", title="t")
    assert found == EmbeddingsRequest(
        model="asked", input=("ab",), dialect=NAME, extra={"taskType": "FACT_VERIFICATION", "title": "t"}
    )
    assert json.loads(ONE.encode_request(found, "sent", drop_unsupported=False)) == {
        **text("ab"),
        "model": "models/sent",
        "taskType": "FACT_VERIFICATION",
        "title": "t",
    }
    assert ONE.path("x", stream=False) == "/v1beta/models/x:embedContent"
    assert decode(ONE, content="ab", embedContentConfig={"outputDimensionality": 3}).dimensions == 3


@pytest.mark.parametrize(
    ("dialect", "fields", "param"),
    [
        (BATCH, {}, "requests"),
        (BATCH, {"requests": [5]}, "requests[0]"),
        (BATCH, {"requests": [{"content": {"parts": []}}]}, "requests[0].content.parts"),
        (BATCH, {"requests": [text("a"), text("b", outputDimensionality=3)]}, "requests[1]"),
        (BATCH, {"requests": [text("a"), text("b", taskType="CLUSTERING")]}, "requests[1]"),
        (ONE, {}, "content"),
        (ONE, {"content": {"parts": [{"inlineData": {}}]}}, "content.parts[0].text"),
        (ONE, {"content": "a", "outputDimensionality": "3"}, "outputDimensionality"),
    ],
)
def test_wrong_field_is_named(
    dialect: GeminiBatchEmbedContents | GeminiEmbedContent, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(dialect, **fields)
    assert caught.value.param == param


def test_one_text_only_where_there_is_place_for_one() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ONE.encode_request(EmbeddingsRequest(model="m", input=("a", "b")), "m", drop_unsupported=True)
    assert caught.value.param == "input"


@pytest.mark.parametrize(
    ("param", "fields"), [("user", {"user": "u"}), ("truncate", {"dialect": "cohere", "extra": {"truncate": "END"}})]
)
def test_what_gemini_has_no_place_for(param: str, fields: dict[str, Any]) -> None:
    request = EmbeddingsRequest(model="m", input=("a",), **fields)
    with pytest.raises(InvalidRequestError) as caught:
        encode(request)
    assert caught.value.param == param
    assert encode(request, drop=True) == {"requests": [text("a", model="models/sent")]}


@pytest.mark.parametrize("purpose", [None, *EmbeddingPurpose])
def test_request_written_and_read_again(purpose: EmbeddingPurpose | None) -> None:
    request = EmbeddingsRequest(model="asked", input=("a", ""), dimensions=3, purpose=purpose, dialect=NAME)
    assert BATCH.decode_request(BATCH.encode_request(request, "m", drop_unsupported=False), "asked") == request


@given(
    st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4).map(tuple), min_size=1, max_size=3)
)
def test_vectors_written_and_read_again(vectors: list[tuple[float, ...]]) -> None:
    request = EmbeddingsRequest(model="m", input=("a",))
    answer = EmbeddingsAnswer(model="", vectors=tuple(vectors), usage=Usage(input_tokens=3))
    assert BATCH.decode_answer(BATCH.encode_answer(answer, request, "asked")) == answer
    first = EmbeddingsAnswer(model="", vectors=answer.vectors[:1], usage=answer.usage)
    assert ONE.decode_answer(ONE.encode_answer(answer, request, "asked")) == first


def test_client_of_openai() -> None:
    body = json.dumps({"model": "asked", "input": ["a", "b"], "dimensions": 2, "encoding_format": "float"}).encode()
    request = OPENAI.decode_request(body, "asked")
    assert encode(request) == {
        "requests": [text(words, model="models/sent", outputDimensionality=2) for words in ("a", "b")]
    }
    answer = BATCH.decode_answer(b'{"embeddings":[{"values":[0.5]},{"values":[1]}]}')
    told = json.loads(OPENAI.encode_answer(answer, request, "asked"))
    assert [each["embedding"] for each in told["data"]] == [[0.5], [1.0]]


def test_client_of_gemini() -> None:
    request = decode(BATCH, requests=[text("a")])
    assert json.loads(OPENAI.encode_request(request, "sent", drop_unsupported=False))["input"] == ["a"]
    answer = OPENAI.decode_answer(b'{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":3}}')
    assert json.loads(BATCH.encode_answer(answer, request, "asked")) == {
        "embeddings": [{"values": [0.5]}],
        "usageMetadata": {"promptTokenCount": 3},
    }


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"embeddings":null}', b'{"embeddings":[{"values":["a"]}]}', b'{"embedding":{}}', b"\xff"],
)
def test_what_is_no_answer_is_an_error_of_the_upstream(body: bytes) -> None:
    with pytest.raises(BadGatewayError, match="cannot be understood"):
        BATCH.decode_answer(body)


def test_model_is_renamed_wherever_a_request_names_it() -> None:
    body = json.dumps({"model": "x", "requests": [text("a", model="models/x"), text("model")]}).encode()
    assert json.loads(BATCH.with_request_model(body, "x", "y")) == {
        "model": "models/y",
        "requests": [text("a", model="models/y"), text("model")],
    }
    assert (
        json.loads(ONE.with_request_model(json.dumps(text("a", model="x")).encode(), "x", "y"))["model"] == "models/y"
    )
    for other in (b"[]", b'{"requests":5}', b"\xff"):
        assert BATCH.with_request_model(other, "x", "y") == other


@pytest.mark.parametrize("dialect", [BATCH, ONE])
def test_what_is_relayed(dialect: GeminiEmbeddings) -> None:
    error = b'{"error":{"message":"slow","status":"RESOURCE_EXHAUSTED"}}'
    assert (dialect.read_error(error), dialect.classify_error(error)) == ("slow", Failure.RATE_LIMITED)
    assert dialect.with_model(b"{}", "asked") == b"{}"
    assert dialect.read_usage(b"\xff") is None
