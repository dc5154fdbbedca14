"""Answers of Ollama's chat, recorded and made up, read and written without loss."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.errors import BadGatewayError
from gateway.schemas.ollama.answer import LineDecoder, decode_answer
from gateway.schemas.ollama.dialects import OllamaChat
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    FinishReason,
    LogprobsDelta,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from tests.gateway.schemas import recorded_exchanges as recorded
from tests.gateway.schemas.chat_event_strategies import answers, batches
from tests.gateway.schemas.dialect_streams import SETTINGS, decoded, streamed, through_stream, through_whole
from tests.gateway.schemas.folded_answers import Alternative, fold
from tests.support.pieces import cut, single_bytes

OLLAMA = OllamaChat()
STARTED = AnswerStarted(id="", model="upstream", created=5)


def line(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "created_at": "2024-05-24T20:26:46.294874Z", **fields}).encode()


def brought(*lines: bytes) -> list[ChatEvent]:
    """What lines bring beside the start."""
    decoder = LineDecoder()
    started, *events = (event for each in lines for event in decoder.decode_line(each))
    assert started == AnswerStarted(id="", model="m", created=1716582406)
    return events


def lines(*groups: list[ChatEvent]) -> list[dict[str, Any]]:
    """The lines of a stream, without what all of them have."""
    found = [json.loads(each) for each in streamed(OLLAMA, groups).splitlines()]
    for each in found:
        assert (each.pop("model"), each.pop("created_at")) == ("asked", "1970-01-01T00:00:05Z")
    return found


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.names("ollama/api-chat/*"))
def test_recorded_answer_is_read_without_loss(name: str) -> None:
    exchange = recorded.load(name)
    told = [json.loads(each) for each in exchange.answer.splitlines()]
    events = decoded(OLLAMA, [exchange.answer]) if exchange.is_streaming else decode_answer(exchange.answer)
    folded = fold(events)
    assert folded.only == Alternative(
        text="".join(each["message"]["content"] for each in told), finishes=[(FinishReason.STOP, None)]
    )
    usage = Usage(input_tokens=told[-1]["prompt_eval_count"], output_tokens=told[-1]["eval_count"])
    assert folded.usages == [usage]
    assert OLLAMA.read_usage(exchange.answer.splitlines()[-1]) == usage
    assert [started.model for started in folded.starts] == [told[0]["model"]]
    if exchange.is_streaming:
        for pieces in (single_bytes(exchange.answer), cut(exchange.answer, range(64, len(exchange.answer), 64))):
            assert decoded(OLLAMA, pieces) == events


@pytest.mark.parametrize(
    ("message", "events"),
    [
        ({}, []),
        ({"content": "", "thinking": ""}, []),
        ({"content": "a"}, [TextDelta(choice=0, text="a")]),
        ({"content": "a", "thinking": "hm"}, [ReasoningDelta(choice=0, text="hm"), TextDelta(choice=0, text="a")]),
        (
            {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]},
            [ToolCallDelta(choice=0, index=0, id="c", name="f", arguments='{"a": 1}')],
        ),
    ],
)
def test_message(message: dict[str, Any], events: list[ChatEvent]) -> None:
    assert brought(line(message=message)) == events


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ({}, FinishReason.STOP),
        ({"done_reason": "stop"}, FinishReason.STOP),
        ({"done_reason": "length"}, FinishReason.LENGTH),
        ({"done_reason": "load"}, FinishReason.STOP),
        ({"done_reason": "unload"}, FinishReason.STOP),
        ({"done_reason": "new"}, None),
    ],
)
def test_reason_to_finish(reason: dict[str, str], expected: FinishReason | None) -> None:
    assert brought(line(done=True, **reason)) == [ChoiceFinished(choice=0, reason=expected)]


def test_calls_are_numbered_over_lines_and_get_ids_that_no_other_answer_has() -> None:
    call = {"function": {"name": "f", "arguments": None}}
    first = [line(message={"tool_calls": [call]}), line(message={"tool_calls": [call]}), line(done=True)]
    events = brought(*first)
    assert [event.index for event in events if isinstance(event, ToolCallDelta)] == [0, 1]
    assert events[-1] == ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS)
    other = fold(
        decode_answer(line(created_at="2024-05-24T20:26:46.294875Z", message={"tool_calls": [call]}, done=True))
    )
    ids = [call.id for call in (*fold(events).only.calls.values(), *other.only.calls.values())]
    assert len(set(ids)) == 3
    assert brought(*first) == events


def test_error_within_a_stream() -> None:
    with pytest.raises(BadGatewayError, match="the upstream failed: out of memory") as caught:
        brought(line(message={"content": "a"}), b'{"error":"out of memory"}')
    assert caught.value.reason == "UPSTREAM_FAILED"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        line(message={"content": "a"}),
        line(message={"content": 5}, done=True),
        line(message={"tool_calls": [5]}, done=True),
        b'{"done":true,"x":' + b"[" * 100_000,
    ],
)
def test_what_is_no_answer_is_an_error_of_the_upstream(body: bytes) -> None:
    with pytest.raises(BadGatewayError, match="cannot be understood") as caught:
        decode_answer(body)
    assert caught.value.reason == "UPSTREAM_MALFORMED"


@given(st.binary(max_size=30))
def test_garbage_raises_only_errors_of_the_upstream(data: bytes) -> None:
    for body in (data, b'{"done":true,"message":%b}' % data, b'{"done":true,"created_at":"%b"}' % data):
        with contextlib.suppress(BadGatewayError):
            decode_answer(body)


# Writing.

END = {
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "total_duration": 0,
    "load_duration": 0,
    "prompt_eval_count": 0,
    "prompt_eval_duration": 0,
    "eval_count": 0,
    "eval_duration": 0,
}


def more(**message: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": "", **message}, "done": False}


def test_lines_go_out_as_they_come_and_calls_when_they_are_whole() -> None:
    assert lines(
        [STARTED],
        [ReasoningDelta(choice=0, text="hm")],
        [TextDelta(choice=0, text="a"), TextDelta(choice=0, text="b")],
        [ToolCallDelta(choice=0, index=0, id="c", name="f", arguments='{"a"')],
        [ToolCallDelta(choice=0, index=0, arguments=":1}")],
        [ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS)],
        [UsageReported(usage=Usage(input_tokens=1, output_tokens=2))],
    ) == [
        more(thinking="hm"),
        more(content="ab"),
        more(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]),
        {**END, "prompt_eval_count": 1, "eval_count": 2},
    ]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (None, "stop"),
        (FinishReason.STOP, "stop"),
        (FinishReason.TOOL_CALLS, "stop"),
        (FinishReason.CONTENT_FILTER, "stop"),
        (FinishReason.LENGTH, "length"),
    ],
)
def test_every_reason_to_finish_is_told(reason: FinishReason | None, told: str) -> None:
    assert lines([STARTED, ChoiceFinished(choice=0, reason=reason)]) == [{**END, "done_reason": told}]


def test_whole_answer() -> None:
    call = ToolCallDelta(choice=0, index=0, name="f", arguments="no object")
    events: list[ChatEvent] = [STARTED, TextDelta(choice=0, text="a"), call, TextDelta(choice=1, text="other")]
    assert json.loads(OLLAMA.encode_answer(events, SETTINGS)) == {
        **END,
        "model": "asked",
        "created_at": "1970-01-01T00:00:05Z",
        "message": {
            "role": "assistant",
            "content": "a",
            "tool_calls": [{"function": {"name": "f", "arguments": {"arguments": "no object"}}}],
        },
    }


def test_probabilities() -> None:
    top = TokenLogprob(token="c", logprob=-1.0, bytes=b"c")
    token = TokenLogprob(token="ä", logprob=-0.5, bytes="ä".encode(), top=(top,))
    events: list[ChatEvent] = [STARTED, LogprobsDelta(choice=0, tokens=(token,))]
    events.append(ChoiceFinished(choice=0, reason=FinishReason.STOP))
    for again in (through_stream(OLLAMA, [events]), through_whole(OLLAMA, events)):
        assert fold(again).only.logprobs == [token]


def as_ollama_says_it(events: list[ChatEvent]) -> Alternative:
    """What is left: a refusal is text, all thoughts are one without a signature, no sources, a plain end."""
    told = fold(events).only
    words = [event.text for event in events if isinstance(event, TextDelta | RefusalDelta)]
    thoughts = "".join(event.text for event in events if isinstance(event, ReasoningDelta))
    ((reason, _),) = told.finishes
    if reason is not FinishReason.LENGTH:
        reason = FinishReason.TOOL_CALLS if told.calls else FinishReason.STOP
    return Alternative(
        text="".join(words),
        thoughts=[ReasoningPart(text=thoughts)] if thoughts else [],
        calls={number: comparable(told.calls[index]) for number, index in enumerate(sorted(told.calls))},
        logprobs=[replace(token, bytes=token.token.encode()) for token in told.logprobs],
        finishes=[(reason, None)],
    )


def comparable(call: ToolCall) -> ToolCall:
    return replace(call, arguments=json.dumps(json.loads(call.arguments or "{}")))


@given(answers(), st.data())
def test_any_answer_is_read_again_as_it_was(events: list[ChatEvent], data: st.DataObject) -> None:
    groups = data.draw(batches(events))
    for again in (through_stream(OLLAMA, groups), through_whole(OLLAMA, events)):
        told = fold(again).only
        calls = {number: comparable(call) for number, call in told.calls.items()}
        assert replace(told, calls=calls) == as_ollama_says_it(events)
        (usage,) = fold(again).usages
        before = fold(events).usages[-1] if fold(events).usages else Usage()
        assert usage == Usage(input_tokens=before.input_tokens, output_tokens=before.output_tokens)
