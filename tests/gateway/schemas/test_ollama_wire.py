"""Ollama's chat and embeddings as they are relayed, and its vectors."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import Failure
from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.schemas.dialect import EventKind
from gateway.schemas.ollama.dialects import OllamaChat, OllamaEmbeddings
from gateway.schemas.openai.embeddings import OpenAIEmbeddings
from gateway.types import EmbeddingsAnswer, EmbeddingsRequest, Usage
from tests.gateway.schemas import recorded_exchanges as recorded

CHAT = OllamaChat()
EMBED = OllamaEmbeddings()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"{}", EventKind.PREAMBLE),
        (b'{"message":{"role":"assistant","content":""},"done":false}', EventKind.PREAMBLE),
        (b'{"message":{"content":"a"}}', EventKind.CONTENT),
        (b'{"message":{"thinking":"a"}}', EventKind.CONTENT),
        (b'{"message":{"tool_calls":[{"function":{"name":"f"}}]}}', EventKind.CONTENT),
        (b'{"done":true}', EventKind.CONTENT),
        (b'{"error":"no"}', EventKind.ERROR),
    ],
)
def test_what_a_line_means(data: bytes, kind: EventKind) -> None:
    assert CHAT.classify_event(data, "") is kind


@given(st.binary(max_size=30))
def test_garbage_is_no_line(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        CHAT.classify_event(data + b"\xff", "")


@pytest.mark.component("recordings")
@pytest.mark.parametrize(
    "name", [name for name in recorded.names("ollama/api-chat/*") if "stream-" in name] or ["absent"]
)
def test_recorded_stream_is_complete_at_its_end_only(name: str) -> None:
    answer = recorded.load(name).answer
    last = answer.rstrip(b"\n").rpartition(b"\n")[2]
    assert not CHAT.is_complete(answer[: -len(last) - 1])
    assert CHAT.is_complete(answer[-CHAT.tail_bytes :])
    assert CHAT.read_stream_usage(answer[-CHAT.tail_bytes :]) == CHAT.read_usage(last) != None  # noqa: E711
    assert CHAT.read_stream_usage(answer[: -len(last) - 1]) is None


@pytest.mark.parametrize(
    ("body", "message", "failure"),
    [
        (b'{"error":"model not found"}', "model not found", None),
        (b'{"error":"server busy, please try again"}', "server busy, please try again", Failure.OVERLOADED),
        (b'{"error":"exceeds the context length"}', "exceeds the context length", Failure.CONTEXT_LENGTH),
        (b"{}", None, None),
        (b'{"error":{"message":"of OpenAI"}}', None, None),
        (b"\xff", None, None),
    ],
)
def test_error(body: bytes, message: str | None, failure: Failure | None) -> None:
    assert CHAT.read_error(body) == message
    assert CHAT.classify_error(body) is failure


def test_model_is_renamed_both_ways() -> None:
    assert CHAT.with_request_model(b'{"model":"a"}', "a", "b") == b'{"model":"b"}'
    assert CHAT.with_request_model(b'{"model":"a" }', "a", "a") == b'{"model":"a" }'
    assert CHAT.with_model(b'{"model":"b","done":true}', "a") == b'{"model":"a","done":true}'
    assert (CHAT.path("m", stream=True), EMBED.path("m", stream=False)) == ("/api/chat", "/api/embed")


# Embeddings.


def decode(**fields: Any) -> EmbeddingsRequest:
    return EMBED.decode_request(json.dumps({"model": "m", **fields}).encode(), "asked")


def encode(*, drop: bool = False, **fields: Any) -> Any:
    request = EmbeddingsRequest(**{"model": "asked", "input": ("a",), **fields})
    return json.loads(EMBED.encode_request(request, "sent", drop_unsupported=drop))


def test_request_for_vectors() -> None:
    assert decode(input="a") == EmbeddingsRequest(model="asked", input=("a",), dialect=EMBED.name)
    full = decode(input=["a", "b"], dimensions=3, truncate=False)
    assert (full.input, full.dimensions, full.extra) == (("a", "b"), 3, {"truncate": False})
    assert json.loads(EMBED.encode_request(full, "sent", drop_unsupported=False)) == {
        "model": "sent",
        "input": ["a", "b"],
        "dimensions": 3,
        "truncate": False,
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [5]}, "input"),
        ({"input": "a", "dimensions": "3"}, "dimensions"),
    ],
)
def test_wrong_request_for_vectors(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("user", {"user": "u"}),
        ("x", {"dialect": "other", "extra": {"x": 1}}),
    ],
)
def test_what_ollama_has_no_place_for(param: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encode(**fields)
    assert caught.value.param == param
    assert encode(drop=True, **fields) == encode()


@given(st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4).map(tuple), max_size=3))
def test_vectors_written_and_read_again(vectors: list[tuple[float, ...]]) -> None:
    answer = EmbeddingsAnswer(model="asked", vectors=tuple(vectors), usage=Usage(input_tokens=3))
    assert EMBED.decode_answer(EMBED.encode_answer(answer, decode(input="a"), "asked")) == answer


@pytest.mark.parametrize("body", [b"", b"{}", b'{"embeddings":[["a"]]}', b'{"error":"no"}', b"\xff"])
def test_what_are_no_vectors_is_an_error_of_the_upstream(body: bytes) -> None:
    with pytest.raises(BadGatewayError, match="cannot be understood"):
        EMBED.decode_answer(body)


def test_vectors_for_a_client_of_openai() -> None:
    openai = OpenAIEmbeddings()
    request = openai.decode_request(b'{"model":"asked","input":"a"}', "asked")
    assert json.loads(EMBED.encode_request(request, "sent", drop_unsupported=False)) == {
        "model": "sent",
        "input": ["a"],
    }
    answer = EMBED.decode_answer(b'{"model":"x","embeddings":[[0.5]],"prompt_eval_count":3}')
    told = json.loads(openai.encode_answer(answer, request, "asked"))
    assert (told["data"][0]["embedding"], told["usage"]["prompt_tokens"], told["model"]) == ([0.5], 3, "asked")
