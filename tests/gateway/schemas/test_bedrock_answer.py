"""Answers of Bedrock's Converse, whole and streamed, to canonical events; recorded ones too."""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadGatewayError
from gateway.framing.aws_event_stream import AwsEventStreamParser
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.bedrock.converse import BedrockConverse
from gateway.types import (
    ChatEvent,
    CitationAdded,
    FinishReason,
    OpaquePart,
    ReasoningPart,
    TextDelta,
    ToolCall,
    Usage,
)
from tests.gateway.schemas import bedrock_recordings as recorded
from tests.gateway.schemas.folded_answers import Folded, fold

CONVERSE = BedrockConverse()
NAME = "bedrock_converse"
USAGE = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}


def whole(*content: Any, stop: str | None = "end_turn", **fields: Any) -> bytes:
    message = {"role": "assistant", "content": list(content)}
    return json.dumps({"output": {"message": message}, "stopReason": stop, "usage": USAGE, **fields}).encode()


def event(kind: str, **fields: Any) -> ServerSentEvent:
    return ServerSentEvent(json.dumps({"p": "abc", **fields}).encode(), kind, b"")


def decode_stream(events: Iterable[ServerSentEvent]) -> list[ChatEvent]:
    decoder = CONVERSE.event_decoder()
    return [found for each in events for found in decoder.decode(each)]


def delta(index: int, **fields: Any) -> ServerSentEvent:
    return event("contentBlockDelta", contentBlockIndex=index, delta=fields)


CITATION = {
    "location": {"documentChar": {"documentIndex": 0, "start": 0, "end": 9}},
    "title": "T",
    "sourceContent": [{"text": "the "}, {"text": "source"}],
}
SERVER_CALL: dict[str, Any] = {"toolUseId": "s1", "name": "nova_code_interpreter", "type": "server_tool_use"}
SERVER_RESULT: dict[str, Any] = {"toolUseId": "s1", "type": "nova_code_interpreter_result", "status": "success"}
STREAM = [
    event("messageStart", role="assistant"),
    delta(0, reasoningContent={"text": "h"}),
    delta(0, reasoningContent={"text": "m"}),
    delta(0, reasoningContent={"signature": "si"}),
    delta(0, reasoningContent={"signature": "g"}),
    event("contentBlockStop", contentBlockIndex=0),
    delta(1, reasoningContent={"redactedContent": "RXRr"}),
    delta(1, reasoningContent={"redactedContent": "RQ=="}),
    event("contentBlockStop", contentBlockIndex=1),
    delta(2, text="one. "),
    event("contentBlockStop", contentBlockIndex=2),
    delta(3, citation=CITATION),
    delta(3, text="two"),
    event("contentBlockStop", contentBlockIndex=3),
    event("contentBlockStart", contentBlockIndex=4, start={"toolUse": SERVER_CALL}),
    delta(4, toolUse={"input": '{"snippet":'}),
    delta(4, toolUse={"input": '"1"}'}),
    event("contentBlockStop", contentBlockIndex=4),
    event("contentBlockStart", contentBlockIndex=5, start={"toolResult": SERVER_RESULT}),
    delta(5, toolResult=[{"json": {"stdOut": "1"}}]),
    event("contentBlockStop", contentBlockIndex=5),
    event("contentBlockStart", contentBlockIndex=6, start={"toolUse": {"toolUseId": "t1", "name": "f"}}),
    delta(6, toolUse={"input": ""}),
    delta(6, toolUse={"input": '{"a":'}),
    delta(6, toolUse={"input": "1}"}),
    event("contentBlockStop", contentBlockIndex=6),
    event("contentBlockStart", contentBlockIndex=7, start={"toolUse": {"toolUseId": "t2", "name": "g"}}),
    event("contentBlockStop", contentBlockIndex=7),
    event("messageStop", stopReason="tool_use"),
    event("metadata", usage=USAGE, metrics={"latencyMs": 5}),
]


def test_stream() -> None:
    events = decode_stream(STREAM)
    answer = fold(events)
    only = answer.only
    assert len(answer.starts) == 1
    assert only.thoughts == [ReasoningPart(text="hm", signature="sig"), ReasoningPart(redacted="EtkE")]
    assert only.text == "one. two"
    (citation,) = only.citations
    assert (citation.title, citation.cited_text) == ("T", "the source")
    assert citation.extra == {"location": CITATION["location"], "start_index": 5, "end_index": 8}
    assert only.calls == {
        0: ToolCall(id="t1", name="f", arguments='{"a":1}'),
        1: ToolCall(id="t2", name="g", arguments="{}"),
    }
    assert only.opaque == [
        OpaquePart(dialect=NAME, value={"toolUse": {**SERVER_CALL, "input": {"snippet": "1"}}}),
        OpaquePart(dialect=NAME, value={"toolResult": {**SERVER_RESULT, "content": [{"json": {"stdOut": "1"}}]}}),
    ]
    assert only.finishes == [(FinishReason.TOOL_CALLS, None)]
    assert answer.usages == [Usage(input_tokens=3, output_tokens=4)]
    kinds = [type(each) for each in events]
    assert kinds.index(CitationAdded) > max(at for at, kind in enumerate(kinds) if kind is TextDelta)


def test_whole_answer_says_what_its_stream_says() -> None:
    body = whole(
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "RXRrRQ=="}},
        {"text": "one. "},
        {"citationsContent": {"content": [{"text": "two"}], "citations": [CITATION]}},
        {"toolUse": {**SERVER_CALL, "input": {"snippet": "1"}}},
        {"toolResult": {**SERVER_RESULT, "content": [{"json": {"stdOut": "1"}}]}},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}, "type": "tool_use"}},
        {"toolUse": {"toolUseId": "t2", "name": "g", "input": {}}},
        stop="tool_use",
    )
    answer, streamed = fold(CONVERSE.decode_answer(body)), fold(decode_stream(STREAM))
    assert (answer.choices, answer.usages) == (streamed.choices, streamed.usages)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("guardrail_intervened", FinishReason.CONTENT_FILTER),
        ("content_filtered", FinishReason.CONTENT_FILTER),
        ("malformed_tool_use", None),
        (None, None),
    ],
)
def test_reason_to_finish(word: str | None, reason: FinishReason | None) -> None:
    assert fold(CONVERSE.decode_answer(whole(stop=word))).only.finishes == [(reason, None)]
    assert fold(decode_stream([event("messageStop", stopReason=word)])).only.finishes == [(reason, None)]


def test_the_sequence_that_ended_an_answer() -> None:
    told = {"stop_sequence": "|"}
    answer = fold(CONVERSE.decode_answer(whole(stop="stop_sequence", additionalModelResponseFields=told)))
    assert answer.only.finishes == [(FinishReason.STOP, "|")]


def test_cached_tokens_are_part_of_the_input() -> None:
    usage = {"inputTokens": 3, "outputTokens": 4, "cacheReadInputTokens": 10, "cacheWriteInputTokens": 20}
    assert fold(CONVERSE.decode_answer(whole(usage=usage))).usages == [
        Usage(input_tokens=33, output_tokens=4, cached_input_tokens=10, cache_creation_tokens=20)
    ]


def test_a_block_that_is_open_at_the_end_is_told() -> None:
    events = [
        delta(0, citation=CITATION),
        delta(0, text="a"),
        event("contentBlockStart", contentBlockIndex=1, start={"toolUse": {"toolUseId": "t", "name": "f"}}),
        event("messageStop", stopReason="tool_use"),
    ]
    only = fold(decode_stream(events)).only
    assert (len(only.citations), only.calls[0].arguments) == (1, "{}")


def test_blocks_and_events_that_are_not_known() -> None:
    block: dict[str, Any] = {"audio": {"format": "mp3", "source": {"bytes": "AA=="}}}
    assert fold(CONVERSE.decode_answer(whole(block))).only.opaque == [OpaquePart(dialect=NAME, value=block)]
    begun = event("contentBlockStart", contentBlockIndex=2, start={})
    events = [event("somethingNew", a=1), delta(0, somethingNew=1), begun, *STREAM]
    assert fold(decode_stream(events)).choices == fold(decode_stream(STREAM)).choices


def test_a_picture_in_a_stream() -> None:
    events = [
        event("contentBlockStart", contentBlockIndex=0, start={"image": {"format": "png"}}),
        delta(0, image={"source": {"bytes": "AA=="}}),
        event("contentBlockStop", contentBlockIndex=0),
    ]
    value: dict[str, Any] = {"image": {"format": "png", "source": {"bytes": "AA=="}}}
    assert fold(decode_stream(events)).only.opaque == [OpaquePart(dialect=NAME, value=value)]


@pytest.mark.parametrize(
    "kind",
    [
        "throttlingException",
        "modelStreamErrorException",
        "internalServerException",
        "serviceUnavailableException",
        "validationException",
        "InternalFailure",
    ],
)
def test_exception_within_a_stream(kind: str) -> None:
    with pytest.raises(BadGatewayError) as failed:
        decode_stream([*STREAM[:5], event(kind, message="it broke")])
    assert failed.value.reason == "UPSTREAM_FAILED"
    assert "it broke" in failed.value.message


def test_an_error_for_an_answer() -> None:
    with pytest.raises(BadGatewayError) as failed:
        CONVERSE.decode_answer(b'{"message":"it broke"}')
    assert failed.value.reason == "UPSTREAM_FAILED"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"output":5}', b"\xff", b"[" * 10_000])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadGatewayError) as failed:
        CONVERSE.decode_answer(body)
    assert failed.value.reason == "UPSTREAM_MALFORMED"


FIELDS = ["output", "message", "content", "text", "toolUse", "input", "delta", "reasoningContent", "start", "citation"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
kinds = st.sampled_from(["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop"])


@given(st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()), st.lists(kinds, min_size=1))
def test_garbage_raises_nothing_but_the_named_error(body: bytes, names: list[str]) -> None:
    with suppress(BadGatewayError):
        CONVERSE.decode_answer(body)
    with suppress(BadGatewayError):
        decode_stream(ServerSentEvent(body, name, b"") for name in names)


# Recordings.


def told_by(message: dict[str, Any]) -> tuple[str, list[tuple[str, Any]]]:
    """The text of a recorded message, and its calls of functions."""
    text, calls = "", []
    for block in message["content"]:
        text += block.get("text", "")
        text += "".join(piece["text"] for piece in block.get("citationsContent", {}).get("content", ()))
        if (call := block.get("toolUse")) and call.get("type") in (None, "tool_use"):
            calls.append((call["name"], call["input"]))
    return text, calls


def said(answer: Folded) -> tuple[str, list[tuple[str, Any]]]:
    only = answer.only
    return only.text, [(call.name, json.loads(call.arguments)) for call in only.calls.values()]


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.WHOLE)
def test_recorded_answer(name: str) -> None:
    body = recorded.load(name).answer
    found = json.loads(body)
    answer = fold(CONVERSE.decode_answer(body))
    assert said(answer) == told_by(found["output"]["message"])
    assert [usage.output_tokens for usage in answer.usages] == [found["usage"]["outputTokens"]]
    blocks = found["output"]["message"]["content"]
    assert len(answer.only.thoughts) == sum("reasoningContent" in block for block in blocks)
    assert len(answer.only.opaque) == sum(
        "toolResult" in block or block.get("toolUse", {}).get("type") == "server_tool_use" for block in blocks
    )
    ((reason, _),) = answer.only.finishes
    assert reason is not None


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.STREAMS)
def test_recorded_stream(name: str) -> None:
    found = recorded.load(name)
    answer = fold(decode_stream(found.events))
    events = [(each.event, json.loads(each.data)) for each in found.events]
    deltas = [event["delta"] for kind, event in events if kind == "contentBlockDelta"]
    starts = [event["start"] for kind, event in events if kind == "contentBlockStart"]
    only = answer.only
    assert only.text == "".join(each.get("text", "") for each in deltas)
    calls = [start["toolUse"] for start in starts if "toolUse" in start]
    assert [(call.id, call.name) for call in only.calls.values()] == [
        (call["toolUseId"], call["name"]) for call in calls if call.get("type") in (None, "tool_use")
    ]
    assert all(isinstance(json.loads(call.arguments), dict) for call in only.calls.values())
    assert len(only.citations) == sum("citation" in each for each in deltas)
    assert len(only.opaque) == len(starts) - len(only.calls)
    assert len(only.thoughts) == sum("redactedContent" in each.get("reasoningContent", {}) for each in deltas)
    assert len(only.finishes) == len(answer.usages) == len(answer.starts) == 1


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.STREAMS)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_recorded_stream_in_pieces_says_the_same(name: str, size: int) -> None:
    found = recorded.load(name)
    parser, decoder = AwsEventStreamParser(), CONVERSE.event_decoder()
    pieces = (found.answer[at : at + size] for at in range(0, len(found.answer), size))
    events = [each for piece in pieces for event in parser.feed(piece) for each in decoder.decode(event)]
    assert fold(events).choices == fold(decode_stream(found.events)).choices
