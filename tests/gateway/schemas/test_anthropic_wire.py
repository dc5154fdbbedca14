"""Anthropic's messages as the data path relays them: when a stream can be committed to, whether it has ended, usage."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.framing.sse import SseParser, encode_event
from gateway.schemas.anthropic.messages import AnthropicMessages
from gateway.schemas.dialect import EventKind
from gateway.types import Usage
from tests.gateway.schemas import anthropic_recordings as recorded

MESSAGES = AnthropicMessages()
TAIL = 4096


def event(kind: str, **fields: object) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


def begins(**block: object) -> bytes:
    return event("content_block_start", index=0, content_block=block)


def goes_on(**delta: object) -> bytes:
    return event("content_block_delta", index=0, delta=delta)


def sent(kind: str, **fields: object) -> bytes:
    return encode_event(event(kind, **fields), kind)


def test_requests_name_their_version_and_go_to_one_path() -> None:
    assert MESSAGES.path("any model", stream=True) == "/v1/messages"
    assert MESSAGES.headers == (("anthropic-version", "2023-06-01"),)
    assert MESSAGES.error_family == "anthropic"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        event("ping"),
        event("message_start", message={"content": [], "usage": {"input_tokens": 5}}),
        begins(type="text", text=""),
        begins(type="text", text="", citations=[]),
        begins(type="thinking", thinking="", signature=""),
        goes_on(type="text_delta", text=""),
        goes_on(type="input_json_delta", partial_json=""),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 1}),
        event("message_delta"),
        event("something_new", index=0),
    ],
)
def test_preamble(data: bytes) -> None:
    assert MESSAGES.classify_event(data, "") is EventKind.PREAMBLE


@pytest.mark.parametrize(
    "data",
    [
        begins(type="text", text="a"),
        begins(type="thinking", thinking="a"),
        begins(type="tool_use", id="t", name="f", input={}),
        begins(type="redacted_thinking", data="x"),
        begins(type="server_tool_use", id="t", name="web_search", input={}),
        begins(type="something_new"),
        goes_on(type="text_delta", text=" "),
        goes_on(type="thinking_delta", thinking="a"),
        goes_on(type="signature_delta", signature="s"),
        goes_on(type="input_json_delta", partial_json="{"),
        goes_on(type="citations_delta", citation={"type": "char_location"}),
        goes_on(type="something_delta", of="new"),
        event("message_delta", delta={"stop_reason": "end_turn"}),
        event("message_stop"),
    ],
)
def test_content(data: bytes) -> None:
    assert MESSAGES.classify_event(data, "") is EventKind.CONTENT


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (event("error", error={"type": "overloaded_error", "message": "Overloaded"}), ""),
        (b'{"error":{"message":"of a proxy"}}', ""),
        (b"anything", "error"),
        (b"", "error"),
    ],
)
def test_error(data: bytes, name: str) -> None:
    assert MESSAGES.classify_event(data, name) is EventKind.ERROR


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"[]",
        b"null",
        b"{}",
        b'{"type":5}',
        b'{"type":',
        b'{"type":"\xff"}',
        b"[DONE]",
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_not_of_this_dialect(data: bytes) -> None:
    with pytest.raises(ValueError):
        MESSAGES.classify_event(data, "")


@pytest.mark.parametrize(
    "tail",
    [
        sent("ping") + sent("message_stop"),
        b'\n\nevent: message_stop\ndata: {"type":"message_stop"}',
        b'\r\n\r\nevent:message_stop\r\ndata: {"x":1,"type":"message_stop"}\r\n\r\n',
        b'\n\ndata: {"type":"message_stop"          }\n\n',
        sent("message_stop")[-10:] + sent("message_stop") + sent("ping"),
    ],
)
def test_complete_stream(tail: bytes) -> None:
    assert MESSAGES.is_complete(tail)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        sent("message_delta", delta={"stop_reason": "end_turn"}),
        sent("content_block_stop", index=0),
        sent("error", error={"message": "message_stop"}),
        b"\n\nevent: message_sto",
    ],
)
def test_incomplete_stream(tail: bytes) -> None:
    assert not MESSAGES.is_complete(tail)


@given(st.sampled_from(["message_stop", "\nevent: message_stop\n", '\n\ndata: {"type":"message_stop"}\n\n']))
def test_text_of_an_answer_cannot_look_like_its_end(text: str) -> None:
    assert not MESSAGES.is_complete(sent("content_block_delta", index=0, delta={"type": "text_delta", "text": text}))


START = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 1}
WHOLE_END = {**START, "output_tokens": 30, "output_tokens_details": {"thinking_tokens": 20}}


def test_usage_at_the_end_of_a_stream_is_enough_where_it_is_whole() -> None:
    tail = sent("message_delta", delta={"stop_reason": "end_turn"}, usage=WHOLE_END) + sent("message_stop")
    assert MESSAGES.read_stream_usage(tail) == Usage(
        input_tokens=17, output_tokens=30, cached_input_tokens=5, cache_creation_tokens=2, reasoning_tokens=20
    )


def test_usage_of_an_older_model_is_put_together_from_both_ends_of_a_stream() -> None:
    start = sent("message_start", message={"usage": START})
    text = sent("content_block_delta", index=0, delta={"type": "text_delta", "text": "a" * 100})
    end = sent("message_delta", delta={}, usage={"output_tokens": 30}) + sent("message_stop")
    usage = Usage(input_tokens=17, output_tokens=30, cached_input_tokens=5, cache_creation_tokens=2)
    assert MESSAGES.read_stream_usage(start + text + end) == usage
    assert MESSAGES.read_stream_usage((text * 100 + end)[-TAIL:]) == Usage(output_tokens=30)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        sent("message_start", message={"usage": START}),
        sent("message_delta", delta={"stop_reason": "end_turn"}),
        sent("message_delta", delta={}, usage=None),
        sent("message_delta", delta={}, usage=WHOLE_END)[:-10],
        sent("message_delta", delta={}, usage=WHOLE_END)[40:],
        sent("content_block_delta", delta={"type": "text_delta", "text": 'data: {"type":"message_delta","usage":{}}'}),
    ],
)
def test_usage_that_is_not_in_the_tail(tail: bytes) -> None:
    assert MESSAGES.read_stream_usage(tail) is None


def test_claims_of_impossible_usage_are_brought_into_range() -> None:
    body = json.dumps({"usage": {"input_tokens": -5, "cache_read_input_tokens": 2**63 - 1, "output_tokens": None}})
    assert MESSAGES.read_usage(body.encode()) == Usage(input_tokens=2**63 - 1, cached_input_tokens=2**63 - 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"usage":null}', b'{"usage":{"input_tokens":"5"}}'])
def test_answer_without_usage(body: bytes) -> None:
    assert MESSAGES.read_usage(body) is None


def test_model_is_renamed_where_there_is_one() -> None:
    whole = b'{"type":"message","model":"a","content":[{"type":"text","text":"\\"model\\""}]}'
    assert json.loads(MESSAGES.with_model(whole, "m")) == {**json.loads(whole), "model": "m"}
    start = event("message_start", message={"model": "a", "id": "x"})
    assert json.loads(MESSAGES.with_model(start, "m"))["message"] == {"model": "m", "id": "x"}


@pytest.mark.parametrize(
    "data",
    [
        goes_on(type="text_delta", text='"model" of "message_start"'),
        begins(type="tool_use", id="t", name="f", input={"model": "a"}),
        event("message_start", message={"id": "x"}),
        event("message_start", no_message={"model": "a"}),
        b'{"type":"message_start","model"',
        b'no JSON with a "model" or a "message_start"',
    ],
)
def test_an_event_without_a_model_stays_the_same_object(data: bytes) -> None:
    assert MESSAGES.with_model(data, "m") is data


def test_request_for_another_model() -> None:
    body = b'{"model":"a","max_tokens":5}'
    assert MESSAGES.with_request_model(body, "a", "a") == body
    assert json.loads(MESSAGES.with_request_model(body, "a", "b")) == {"model": "b", "max_tokens": 5}
    assert json.loads(MESSAGES.with_request_model(b'{"model":"a","model":"x"}', "a", "a")) == {"model": "a"}


# Recordings.

SSE_STREAMS = [name for name in recorded.STREAMS if not name.startswith("bedrock/")] or ["absent"]


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.STREAMS)
def test_recorded_stream_is_committed_to_at_the_first_event_with_something_in_it(name: str) -> None:
    recording = recorded.load(name)
    kinds = [MESSAGES.classify_event(each.data, each.event) for each in recording.events]
    assert EventKind.ERROR not in kinds
    first = recording.told()[kinds.index(EventKind.CONTENT)]
    for before in recording.told()[: kinds.index(EventKind.CONTENT)]:
        assert before["type"] in ("message_start", "ping", "content_block_start")
        assert before.get("content_block", {"type": "text"})["type"] in ("text", "thinking")
    assert first["type"] in ("content_block_start", "content_block_delta")


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", SSE_STREAMS)
def test_recorded_stream_ends_with_its_usage(name: str) -> None:
    recording = recorded.load(name)
    assert MESSAGES.is_complete(recording.raw[-TAIL:])
    assert not MESSAGES.is_complete(recording.raw[: recording.raw.index(b"event: message_stop")])
    usage = MESSAGES.read_stream_usage(recording.raw[-TAIL:])
    assert usage == usage_of(recording.told())


def usage_of(told: list[dict[str, Any]]) -> Usage:
    """The usage of a stream, read in the plainest way."""
    fields: dict[str, Any] = {}
    for each in told:
        fields |= (each.get("message") or each).get("usage") or {}
    read, written = fields.get("cache_read_input_tokens", 0), fields.get("cache_creation_input_tokens", 0)
    return Usage(
        input_tokens=fields["input_tokens"] + read + written,
        output_tokens=fields["output_tokens"],
        cached_input_tokens=read,
        cache_creation_tokens=written,
        reasoning_tokens=fields.get("output_tokens_details", {}).get("thinking_tokens", 0),
    )


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.STREAMS)
def test_recorded_stream_under_another_name_differs_in_nothing_else(name: str) -> None:
    renamed = 0
    for each in recorded.load(name).events:
        data = MESSAGES.with_model(each.data, "asked")
        (again,) = SseParser().feed(encode_event(data, each.event))
        told = json.loads(each.data)
        if "message" in told:
            told["message"]["model"] = "asked"
            renamed += 1
        else:
            assert data is each.data
        assert json.loads(again.data) == told
    assert renamed == 1


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.WHOLE)
def test_recorded_answer(name: str) -> None:
    body = recorded.load(name).body
    answer = json.loads(body)
    assert MESSAGES.read_error(body) is None
    assert MESSAGES.read_usage(body) == usage_of([answer])
    assert json.loads(MESSAGES.with_model(body, "asked")) == {**answer, "model": "asked"}


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.ERRORS)
def test_recorded_error(name: str) -> None:
    body = recorded.load(name).body
    assert MESSAGES.read_usage(body) is None
    assert MESSAGES.read_error(body) == json.loads(body)["error"]["message"]
    assert MESSAGES.classify_error(body) is None
