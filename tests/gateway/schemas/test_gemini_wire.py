"""Gemini's generateContent as it is relayed: what an event means, the end, usage, errors, the model's name."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import Failure
from gateway.framing.sse import SseParser
from gateway.schemas.dialect import EventKind
from gateway.schemas.gemini.generate_content import GeminiGenerateContent
from gateway.types import Usage, UsageReported
from tests.gateway.schemas import recorded_exchanges as recorded
from tests.gateway.schemas.dialect_streams import decoded

GEMINI = GeminiGenerateContent()
STREAMS = recorded.names("gemini/*/stream-*", "vertex/*/stream-*")
WHOLE = [
    name for name in recorded.names("gemini/generateContent/*", "vertex/generateContent/*") if "blocked" not in name
] or ["absent"]


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def piece(*parts: dict[str, Any], **fields: Any) -> bytes:
    return body(candidates=[{"content": {"parts": list(parts)}, **fields}])


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-x", False, "/v1beta/models/gemini-x:generateContent"),
        ("models/gemini-x", True, "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"),
        ("a/b?c", False, "/v1beta/models/a%2Fb%3Fc:generateContent"),
    ],
)
def test_model_stands_in_the_path(model: str, stream: bool, path: str) -> None:
    assert GEMINI.path(model, stream=stream) == path


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", EventKind.PREAMBLE),
        (b"{}", EventKind.PREAMBLE),
        (body(usageMetadata={}), EventKind.PREAMBLE),
        (piece(), EventKind.PREAMBLE),
        (piece({"text": ""}), EventKind.PREAMBLE),
        (piece({"text": "", "thoughtSignature": "s"}), EventKind.PREAMBLE),
        (piece({"text": "a"}), EventKind.CONTENT),
        (piece({"text": "hm", "thought": True}), EventKind.CONTENT),
        (piece({"functionCall": {"name": "f"}}), EventKind.CONTENT),
        (piece({"toolCall": {}}), EventKind.CONTENT),
        (piece(finishReason="STOP"), EventKind.CONTENT),
        (piece(finishReason=1), EventKind.CONTENT),
        (body(promptFeedback={"blockReason": "SAFETY"}), EventKind.CONTENT),
        (body(error={"message": "no"}), EventKind.ERROR),
    ],
)
def test_what_an_event_means(data: bytes, kind: EventKind) -> None:
    assert GEMINI.classify_event(data, "") is kind


@given(st.binary(max_size=30))
def test_garbage_is_no_event(data: bytes) -> None:
    for garbage in (data + b"\xff", b'{"candidates":%b\xff' % data):
        with pytest.raises(ValueError, match=r"."):
            GEMINI.classify_event(garbage, "")


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", STREAMS)
def test_recorded_stream_is_complete_at_its_end_only(name: str) -> None:
    events = list(SseParser().feed(recorded.load(name).answer))
    seen = b""
    for event in events[:-1]:
        seen += event.raw
        assert not GEMINI.is_complete(seen[-GEMINI.tail_bytes :])
    seen += events[-1].raw
    assert GEMINI.is_complete(seen[-GEMINI.tail_bytes :])
    assert GEMINI.classify_event(events[-1].data, "") is EventKind.CONTENT


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", STREAMS)
def test_usage_at_the_end_of_a_recorded_stream(name: str) -> None:
    answer = recorded.load(name).answer
    (reported,) = [event for event in decoded(GEMINI, [answer]) if isinstance(event, UsageReported)]
    for length in (4096, GEMINI.tail_bytes):
        assert GEMINI.read_stream_usage(answer[-length:]) == reported.usage


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", WHOLE)
def test_usage_of_a_recorded_answer(name: str) -> None:
    answer = recorded.load(name).answer
    assert GEMINI.read_usage(answer) == fold_usage(answer) != Usage()


def fold_usage(answer: bytes) -> Usage | None:
    return next((event.usage for event in GEMINI.decode_answer(answer) if isinstance(event, UsageReported)), None)


@pytest.mark.parametrize(
    "tail",
    [b"", b"data: {}\n\n", b'"usageMetadata"', b'"usageMetadata": 5', b'"usageMetadata": {"promptTokenCount": "x"}'],
)
def test_stream_without_usage(tail: bytes) -> None:
    assert GEMINI.read_stream_usage(tail) is None


def test_stream_that_is_cut_is_not_complete() -> None:
    assert not GEMINI.is_complete(
        b'data: {"candidates":[{"content":{"parts":[{"text":"\\"finishReason\\":\\"STOP\\""}]}}]}'
    )
    assert not GEMINI.is_complete(b'"finishReason": "FINISH_REASON_UNSPECIFIED"')
    assert GEMINI.is_complete(b'{"promptFeedback": {"blockReason": "SAFETY"}}')


@pytest.mark.parametrize(
    ("error", "message", "failure"),
    [
        ({"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}, "slow", Failure.RATE_LIMITED),
        ({"code": 503, "message": "busy", "status": "UNAVAILABLE"}, "busy", Failure.OVERLOADED),
        ({"message": "The model is overloaded."}, "The model is overloaded.", Failure.OVERLOADED),
        (
            {"message": "The input token count (9) exceeds the maximum number of tokens allowed (1)", "status": "X"},
            "The input token count (9) exceeds the maximum number of tokens allowed (1)",
            Failure.CONTEXT_LENGTH,
        ),
        ({"message": "bad", "status": "INVALID_ARGUMENT"}, "bad", None),
        ({}, "the upstream gave no message", None),
    ],
)
def test_error(error: dict[str, Any], message: str, failure: Failure | None) -> None:
    for told in (body(error=error), json.dumps([{"error": error}]).encode()):
        assert GEMINI.read_error(told) == message
        assert GEMINI.classify_error(told) is failure


@pytest.mark.parametrize("told", [b"", b"{}", b"[]", b'{"error":"no"}', b"<html>", b"\xff"])
def test_what_is_no_error_of_gemini(told: bytes) -> None:
    assert GEMINI.read_error(told) is None
    assert GEMINI.classify_error(told) is None


def test_model_of_an_answer() -> None:
    told = b'{"candidates": [ ],"modelVersion": "x"}'
    assert json.loads(GEMINI.with_model(told, "asked")) == {"candidates": [], "modelVersion": "asked"}
    for other in (b"{}", b"[]", b"\xff"):
        assert GEMINI.with_model(other, "asked") == other


def test_request_keeps_its_bytes_unless_it_names_a_model() -> None:
    told = b'{ "contents": [{"parts": [{"text": "\\"model\\""}]}]}'
    assert GEMINI.with_request_model(told, "a", "b") == told
    for named in (b'{"model":"models/x","contents":[]}', b'{"mod\\u0065l":"y","model":"x","contents":[]}'):
        assert json.loads(GEMINI.with_request_model(named, "a", "b")) == {"model": "models/b", "contents": []}
    for other in (b'{"contents":[{"model":1}]}', b'"model"', b"\xff"):
        assert GEMINI.with_request_model(other, "a", "b") == other
