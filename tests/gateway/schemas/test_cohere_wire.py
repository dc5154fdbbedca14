"""Cohere's API as the data path relays it: when a stream can be committed to, whether it has ended, usage, errors."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import Failure
from gateway.framing.sse import encode_event
from gateway.schemas.cohere.chat import CohereChat
from gateway.schemas.dialect import EventKind
from gateway.schemas.table import SCHEMAS
from gateway.types import Schema, Usage

CHAT = CohereChat()
COUNTS = {"tokens": {"input_tokens": 5, "output_tokens": 7}}


def event(kind: str, *, message: object = None, **fields: object) -> bytes:
    return json.dumps({"type": kind, "delta": {"message": message, **fields}}).encode()


END = encode_event(event("message-end", finish_reason="COMPLETE", usage=COUNTS), "message-end")
DONE = b"data: [DONE]\n\n"


def test_requests_go_to_one_path_and_the_family_has_both_operations() -> None:
    assert CHAT.path("any model", stream=True) == "/v2/chat"
    assert CHAT.error_family == "cohere"
    assert [dialect.name for dialect in SCHEMAS[Schema.COHERE].chat] == ["cohere_chat"]
    assert [dialect.name for dialect in SCHEMAS[Schema.COHERE].embeddings] == ["cohere_embed"]


def test_model_of_a_request() -> None:
    assert json.loads(CHAT.with_request_model(b'{"model":"a","x":1}', "a", "b")) == {"model": "b", "x": 1}
    assert CHAT.with_request_model(b'{"model":"a"}', "a", "a") == b'{"model":"a"}'
    assert json.loads(CHAT.with_request_model(b'{"model":"z","model":"a"}', "a", "a")) == {"model": "a"}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", ""),
        (event("message-start", message={"role": "assistant", "content": [], "tool_calls": []}), ""),
        (event("content-start", message={"content": {"type": "text", "text": ""}}), ""),
        (event("content-delta", message={"content": {"text": ""}}), ""),
        (event("content-end"), ""),
        (event("tool-plan-delta", message={"tool_plan": ""}), ""),
        (event("something-new"), ""),
        (b"{}", "ping"),
    ],
)
def test_preamble(data: bytes, name: str) -> None:
    assert CHAT.classify_event(data, name) is EventKind.PREAMBLE


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (event("content-delta", message={"content": {"text": "a"}}), ""),
        (event("content-delta", message={"content": {"thinking": "a"}}), ""),
        (event("tool-plan-delta", message={"tool_plan": "a"}), ""),
        (event("tool-call-start", message={"tool_calls": {"function": {"name": "f"}}}), ""),
        (event("tool-call-delta", message={"tool_calls": {"function": {"arguments": "{"}}}), ""),
        (event("citation-start", message={"citations": {}}), ""),
        (event("message-end", finish_reason="COMPLETE"), ""),
        (b'{"delta":{"message":{"content":{"text":"a"}}}}', "content-delta"),
        (b"[DONE]", ""),
    ],
)
def test_content(data: bytes, name: str) -> None:
    assert CHAT.classify_event(data, name) is EventKind.CONTENT


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (event("message-end", finish_reason="ERROR"), ""),
        (event("message-end", finish_reason="TIMEOUT"), ""),
        (event("message-end", error="it broke"), ""),
        (b'{"message":"it broke"}', ""),
        (b"{}", "error"),
    ],
)
def test_error(data: bytes, name: str) -> None:
    assert CHAT.classify_event(data, name) is EventKind.ERROR


@given(st.binary())
def test_what_is_not_of_this_api_is_no_event(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        CHAT.classify_event(data, "")


@pytest.mark.parametrize("tail", [END, END + DONE, b"rest of a line\n\n" + END, END.replace(b"\n", b"\r\n")])
def test_stream_that_ended(tail: bytes) -> None:
    assert CHAT.is_complete(tail)
    assert CHAT.read_stream_usage(tail) == Usage(input_tokens=5, output_tokens=7)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        DONE,
        END[:-30],
        encode_event(event("content-delta", message={"content": {"text": 'data: {"type": "message-end"}'}})),
        encode_event(event("citation-start", message={"citations": {"sources": [{"type": "message-end"}]}})),
    ],
)
def test_stream_that_did_not_end(tail: bytes) -> None:
    assert not CHAT.is_complete(tail)
    assert CHAT.read_stream_usage(tail) is None


def test_usage_of_a_whole_answer() -> None:
    assert CHAT.read_usage(json.dumps({"usage": COUNTS}).encode()) == Usage(input_tokens=5, output_tokens=7)
    assert CHAT.read_usage(b"{}") is None
    assert CHAT.read_usage(b"no") is None


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ("too many tokens: total number of tokens in the prompt cannot exceed 4081", Failure.CONTEXT_LENGTH),
        ("You are using a Trial key, which is limited to 20 API calls / minute.", Failure.RATE_LIMITED),
        ("blocked output: please adjust your prompt", Failure.CONTENT_FILTER),
        ("the model is overloaded", Failure.OVERLOADED),
        ("invalid request: bad role", None),
    ],
)
def test_class_of_an_error(message: str, failure: Failure | None) -> None:
    for error in (json.dumps({"message": message}).encode(), event("message-end", error=message)):
        assert CHAT.read_error(error) == message
        assert CHAT.classify_error(error) is failure


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"message":{"role":"assistant"}}', b"\xff"])
def test_what_is_no_error(body: bytes) -> None:
    assert CHAT.read_error(body) is None
    assert CHAT.classify_error(body) is None


def test_answers_name_no_model() -> None:
    assert CHAT.with_model(b'{"id":"a"}', "m") == b'{"id":"a"}'
