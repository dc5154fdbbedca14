"""Answers of Cohere's `/v2/chat`, whole and streamed, to canonical events."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadGatewayError
from gateway.framing.sse import ServerSentEvent, SseParser, encode_event
from gateway.schemas.cohere.chat import CohereChat
from gateway.types import (
    ChatEvent,
    FinishReason,
    LogprobsDelta,
    OpaquePart,
    ReasoningPart,
    TokenLogprob,
    ToolCall,
    Usage,
)
from tests.gateway.schemas.folded_answers import fold
from tests.support.pieces import cut

CHAT = CohereChat()
USAGE = {
    "billed_units": {"input_tokens": 5.0, "output_tokens": 7.0},
    "tokens": {"input_tokens": 50.0, "output_tokens": 9.0},
    "cached_tokens": 16.0,
}
SOURCE = {
    "type": "document",
    "id": "d",
    "document": {"id": "d", "title": "T", "text": "the source", "url": "https://d"},
}
CITATION = {"start": 0, "end": 3, "text": "yes", "sources": [SOURCE], "type": "TEXT_CONTENT"}


def whole(**fields: Any) -> bytes:
    message = {"role": "assistant", **fields.pop("message", {})}
    return json.dumps({"id": "a", "finish_reason": "COMPLETE", "message": message, "usage": USAGE, **fields}).encode()


def event(kind: str, *, message: object = None, **fields: object) -> bytes:
    told: dict[str, object] = {"type": kind, **fields}
    if message is not None:
        told["delta"] = {"message": message}
    return encode_event(json.dumps(told).encode(), kind)


STREAM = b"".join(
    [
        event(
            "message-start",
            id="a",
            message={"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []},
        ),
        event("content-start", index=0, message={"content": {"type": "thinking", "thinking": ""}}),
        event("content-delta", index=0, message={"content": {"thinking": "hm"}}),
        event("content-end", index=0),
        event("content-start", index=1, message={"content": {"type": "text", "text": ""}}),
        event("content-delta", index=1, message={"content": {"text": "ye"}}),
        event("content-delta", index=1, message={"content": {"text": "s"}}),
        event("citation-start", index=0, message={"citations": CITATION}),
        event("citation-end", index=0),
        event("content-end", index=1),
        event("tool-plan-delta", message={"tool_plan": " I look"}),
        event(
            "tool-call-start",
            index=2,
            message={"tool_calls": {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}},
        ),
        event("tool-call-delta", index=2, message={"tool_calls": {"function": {"arguments": '{"a":'}}}),
        event("tool-call-delta", index=2, message={"tool_calls": {"function": {"arguments": "1}"}}}),
        event("tool-call-end", index=2),
        event(
            "tool-call-start",
            index=3,
            message={"tool_calls": {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}},
        ),
        event("tool-call-end", index=3),
        event("message-end", id="a", delta={"finish_reason": "TOOL_CALL", "usage": USAGE}),
        b"data: [DONE]\n\n",
    ]
)


def decode_stream(pieces: Sequence[bytes]) -> list[ChatEvent]:
    parser, decoder = SseParser(), CHAT.event_decoder()
    return [found for piece in pieces for each in parser.feed(piece) for found in decoder.decode(each)]


def test_stream() -> None:
    answer = fold(decode_stream([STREAM]))
    assert [started.id for started in answer.starts] == ["a"]
    only = answer.only
    assert only.text == "yes"
    assert only.thoughts == [ReasoningPart(text="hm I look")]
    assert only.calls == {
        0: ToolCall(id="c1", name="f", arguments='{"a":1}'),
        1: ToolCall(id="c2", name="g", arguments="{}"),
    }
    assert [(each.url, each.title, each.cited_text) for each in only.citations] == [("https://d", "T", "the source")]
    assert only.finishes == [(FinishReason.TOOL_CALLS, None)]
    assert answer.usages == [Usage(input_tokens=50, output_tokens=9, cached_input_tokens=16)]


def test_whole_answer_says_what_its_stream_says() -> None:
    message = {
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "yes"}],
        "tool_plan": " I look",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
        "citations": [CITATION],
    }
    answer = fold(CHAT.decode_answer(whole(message=message, finish_reason="TOOL_CALL")))
    streamed = fold(decode_stream([STREAM]))
    assert (answer.choices, answer.usages) == (streamed.choices, streamed.usages)


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_any_split_gives_the_same_events(cuts: list[int]) -> None:
    assert fold(decode_stream(cut(STREAM, cuts))).choices == fold(decode_stream([STREAM])).choices


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("COMPLETE", FinishReason.STOP),
        ("STOP_SEQUENCE", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("TOOL_CALL", FinishReason.TOOL_CALLS),
        ("ERROR_TOXIC", FinishReason.CONTENT_FILTER),
        ("SOMETHING_NEW", None),
        (None, None),
    ],
)
def test_reason_to_finish(word: str | None, reason: FinishReason | None) -> None:
    assert fold(CHAT.decode_answer(whole(finish_reason=word))).only.finishes == [(reason, None)]


def test_usage_of_servers_that_tell_what_is_billed_alone() -> None:
    usage = {"billed_units": {"input_tokens": 3, "output_tokens": 4}}
    assert fold(CHAT.decode_answer(whole(usage=usage))).usages == [Usage(input_tokens=3, output_tokens=4)]


@pytest.mark.parametrize("usage", [None, {}, {"tokens": None}, {"tokens": {"input_tokens": -3}}])
def test_missing_and_senseless_usage(usage: object) -> None:
    answer = fold(CHAT.decode_answer(whole(usage=usage)))
    assert answer.usages == ([] if usage is None else [Usage()])


def test_logprobs_of_several_tokens_are_of_the_piece_of_text() -> None:
    found = {"text": "ab", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}
    token = TokenLogprob(token="ab", logprob=-0.75, bytes=b"ab")
    assert fold(CHAT.decode_answer(whole(logprobs=[found]))).only.logprobs == [token]
    delta = event("content-delta", index=0, message={"content": {"text": "ab"}}, logprobs=found)
    assert LogprobsDelta(choice=0, tokens=(token,)) in decode_stream([delta])


def test_unknown_content_is_kept() -> None:
    block: dict[str, Any] = {"type": "something_new", "of": [1]}
    answer = fold(CHAT.decode_answer(whole(message={"content": [block, {"type": "text", "text": "a"}]})))
    assert answer.only.opaque == [OpaquePart(dialect="cohere_chat", value=block)]
    assert answer.only.text == "a"


def test_unknown_events_are_passed_over_and_types_may_stand_beside_the_data() -> None:
    stream = b"event: ping\ndata: {}\n\n" + event("debug", delta={"prompt": "x"})
    stream += b'event: content-delta\ndata: {"index":0,"delta":{"message":{"content":{"text":"a"}}}}\n\n'
    stream += b'event: message-end\ndata: {"delta":{"finish_reason":"COMPLETE"}}\n\n'
    answer = fold(decode_stream([stream]))
    assert (answer.only.text, answer.only.finishes) == ("a", [(FinishReason.STOP, None)])
    assert len(answer.starts) == 1


@pytest.mark.parametrize(
    "stream",
    [
        event("message-end", delta={"finish_reason": "ERROR", "error": "it broke"}),
        event("message-end", delta={"finish_reason": "TIMEOUT"}),
        event("message-end", delta={"error": "it broke"}),
        b'data: {"message": "it broke"}\n\n',
        b"event: error\ndata: {}\n\n",
    ],
)
def test_error_within_a_stream(stream: bytes) -> None:
    with pytest.raises(BadGatewayError) as failed:
        decode_stream([stream])
    assert failed.value.reason == "UPSTREAM_FAILED"
    assert ("it broke" in failed.value.message) == (b"it broke" in stream)


@pytest.mark.parametrize("body", [whole(finish_reason="ERROR"), whole(finish_reason="TIMEOUT"), b'{"message":"no"}'])
def test_answer_that_failed(body: bytes) -> None:
    with pytest.raises(BadGatewayError) as failed:
        CHAT.decode_answer(body)
    assert failed.value.reason == "UPSTREAM_FAILED"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"message": 5}', b"\xff", b"[" * 10_000])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadGatewayError) as failed:
        CHAT.decode_answer(body)
    assert failed.value.reason == "UPSTREAM_MALFORMED"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "delta", "message", "content", "text", "tool_calls", "citations", "usage", "tokens"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()))
def test_garbage_raises_nothing_but_the_named_error(body: bytes) -> None:
    for decode in (CHAT.decode_answer, lambda data: CHAT.event_decoder().decode(ServerSentEvent(data, "x", data))):
        with contextlib.suppress(BadGatewayError):
            decode(body)
