"""Canonical events to answers of Bedrock's Converse: well formed in any order, and read back as they were."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.framing.aws_event_stream import AwsEventStreamParser
from gateway.schemas.bedrock.converse import BedrockConverse
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FinishReason,
    OpaqueAdded,
    OpaquePart,
    ReasoningDelta,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from tests.gateway.schemas.chat_event_strategies import answers, batches
from tests.gateway.schemas.folded_answers import Alternative, Folded, fold

CONVERSE = BedrockConverse()
NAME = "bedrock_converse"
SETTINGS = AnswerSettings(model="asked")
STARTED = AnswerStarted(id="a", model="m", created=1)
END = ChoiceFinished(choice=0, reason=FinishReason.STOP)
SERVER_CALL: dict[str, Any] = {"toolUse": {"toolUseId": "s", "name": "x", "type": "server_tool_use", "input": {"a": 1}}}
SERVER_RESULT: dict[str, Any] = {
    "toolResult": {"toolUseId": "s", "type": "x_result", "status": "success", "content": [{"text": "1"}]}
}


def stream(groups: Iterable[Sequence[ChatEvent]]) -> bytes:
    encoder = CONVERSE.event_encoder(SETTINGS)
    return b"".join(encoder.encode(group) for group in groups) + encoder.finish()


def told(data: bytes) -> list[tuple[str, Any]]:
    parser = AwsEventStreamParser()
    found = [(event.event, json.loads(event.data)) for event in parser.feed(data)]
    assert parser.pending == b""
    return found


def read_back(data: bytes) -> Folded:
    decoder = CONVERSE.event_decoder()
    return fold(found for event in AwsEventStreamParser().feed(data) for found in decoder.decode(event))


def whole(events: Iterable[ChatEvent]) -> Any:
    return json.loads(CONVERSE.encode_answer(events, SETTINGS))


def test_stream_of_text() -> None:
    usage = UsageReported(
        usage=Usage(input_tokens=33, output_tokens=4, cached_input_tokens=10, cache_creation_tokens=20)
    )
    found = told(stream([[STARTED], [TextDelta(choice=0, text="a")], [TextDelta(choice=0, text="b")], [END], [usage]]))
    assert found == [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "a"}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "b"}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        (
            "metadata",
            {
                "usage": {
                    "inputTokens": 3,
                    "outputTokens": 4,
                    "totalTokens": 37,
                    "cacheReadInputTokens": 10,
                    "cacheWriteInputTokens": 20,
                },
                "metrics": {"latencyMs": 0},
            },
        ),
    ]


def test_deltas_are_sent_at_once() -> None:
    encoder = CONVERSE.event_encoder(SETTINGS)
    assert b"messageStart" in encoder.encode([STARTED])
    assert b'"text":"a"' in encoder.encode([TextDelta(choice=0, text="a")])
    assert b'"name":"f"' in encoder.encode([ToolCallDelta(choice=0, index=0, id="c", name="f")])
    assert b'"input":"{"' in encoder.encode([ToolCallDelta(choice=0, index=0, arguments="{")])
    assert b"messageStop" in encoder.encode([END])


def test_whole_answer() -> None:
    events: list[ChatEvent] = [
        STARTED,
        ReasoningDelta(choice=0, text="hm"),
        ReasoningSigned(choice=0, signature="s"),
        ReasoningRedacted(choice=0, data="EtkE"),
        TextDelta(choice=0, text="a"),
        CitationAdded(choice=0, citation=Citation(url="https://u", title="T", cited_text="x")),
        TextDelta(choice=0, text="b"),
        OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value=SERVER_CALL)),
        ToolCallDelta(choice=0, index=0, id="c", name="f", arguments='{"a":'),
        ToolCallDelta(choice=0, index=0, arguments="1}"),
        END,
    ]
    citation = {"location": {"web": {"url": "https://u"}}, "title": "T", "sourceContent": [{"text": "x"}]}
    assert whole(events)["output"]["message"] == {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
            {"reasoningContent": {"redactedContent": "RXRrRQ=="}},
            {"citationsContent": {"content": [{"text": "a"}], "citations": [citation]}},
            {"text": "b"},
            SERVER_CALL,
            {"toolUse": {"toolUseId": "c", "name": "f", "input": {"a": 1}}},
        ],
    }


def test_what_the_backend_did_itself_is_streamed() -> None:
    events: list[ChatEvent] = [
        OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value=value)) for value in (SERVER_CALL, SERVER_RESULT)
    ]
    picture: dict[str, Any] = {"image": {"format": "png", "source": {"bytes": "AA=="}}}
    events.append(OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value=picture)))
    values = [part.value for part in read_back(stream([events, [END]])).only.opaque]
    assert values == [SERVER_CALL, SERVER_RESULT, picture]


@pytest.mark.parametrize(
    ("finished", "word"),
    [
        (ChoiceFinished(choice=0, reason=FinishReason.STOP), "end_turn"),
        (ChoiceFinished(choice=0, reason=FinishReason.STOP, stop_sequence="x"), "stop_sequence"),
        (ChoiceFinished(choice=0, reason=FinishReason.LENGTH), "max_tokens"),
        (ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS), "tool_use"),
        (ChoiceFinished(choice=0, reason=FinishReason.CONTENT_FILTER), "content_filtered"),
        (ChoiceFinished(choice=0, reason=None), "end_turn"),
    ],
)
def test_reason_to_finish(finished: ChoiceFinished, word: str) -> None:
    assert whole([STARTED, finished])["stopReason"] == word
    written = stream([[STARTED, finished]])
    assert [event["stopReason"] for kind, event in told(written) if kind == "messageStop"] == [word]
    assert read_back(written).only.finishes[0][1] == finished.stop_sequence


def test_a_plain_stop_is_named_for_calls_and_refusals() -> None:
    call = ToolCallDelta(choice=0, index=0, id="c", name="f", arguments="{}")
    assert whole([call, END])["stopReason"] == "tool_use"
    assert whole([RefusalDelta(choice=0, text="no"), END])["stopReason"] == "content_filtered"


def test_an_answer_without_anything_is_well_formed() -> None:
    assert whole([])["output"]["message"] == {"role": "assistant", "content": []}
    assert [kind for kind, _ in told(stream([]))] == ["messageStart", "messageStop", "metadata"]


def assert_well_formed(found: list[tuple[str, Any]]) -> None:
    """One start, one end, then the cost; blocks numbered in order, of one kind each, and closed once."""
    kinds = [kind for kind, _ in found]
    assert (kinds[0], kinds[-2], kinds[-1]) == ("messageStart", "messageStop", "metadata")
    assert all(kinds.count(kind) == 1 for kind in ("messageStart", "messageStop", "metadata"))
    blocks: dict[int, str] = {}
    closed: set[int] = set()
    for kind, event in found:
        index = event.get("contentBlockIndex")
        if index is None:
            continue
        assert index not in closed
        match kind:
            case "contentBlockStart":
                assert index == len(blocks)
                (blocks[index],) = event["start"]
            case "contentBlockDelta":
                (of,) = event["delta"]
                of = "text" if of == "citation" else of
                assert blocks.setdefault(index, of) == of
                assert index < len(blocks)
            case "contentBlockStop":
                assert index in blocks
                closed.add(index)
    assert closed == set(blocks) == set(range(len(blocks)))


def comparable(only: Alternative) -> Alternative:
    """The same without where sources belong, and its calls numbered by their ids, not as they began."""
    only.citations = [replace(citation, extra=None) for citation in only.citations]
    calls = sorted(only.calls.values(), key=lambda call: call.id)
    only.calls = {
        number: replace(call, arguments=json.dumps(json.loads(call.arguments))) for number, call in enumerate(calls)
    }
    return only


def expected(events: Sequence[ChatEvent]) -> Alternative:
    """What of an answer this API can say: a refusal is text, and the end named for it and for calls."""
    only = fold(event for event in events if isinstance(event, AnswerStarted | UsageReported) or event.choice == 0).only
    text = fold(
        TextDelta(choice=0, text=event.text) if isinstance(event, RefusalDelta) else event
        for event in events
        if isinstance(event, TextDelta | RefusalDelta | ChoiceFinished) and event.choice == 0
    ).only.text
    ((reason, sequence),) = only.finishes
    if reason in (None, FinishReason.STOP):
        plain = FinishReason.CONTENT_FILTER if only.refusal else FinishReason.STOP
        reason = FinishReason.TOOL_CALLS if only.calls else plain
    only.finishes = [(reason, sequence)]
    only.text, only.refusal, only.opaque, only.logprobs = text, "", [], []
    return only


def _as_told(usage: Usage) -> Usage:
    return replace(usage, reasoning_tokens=0)


@given(st.data())
def test_any_stream_is_well_formed_and_read_back(data: st.DataObject) -> None:
    events = data.draw(answers(choices=2, opaque_of=["gemini"]))
    written = stream(data.draw(batches(events)))
    assert_well_formed(told(written))
    folded = read_back(written)
    assert comparable(folded.only) == comparable(expected(events))
    usages = [event.usage for event in events if isinstance(event, UsageReported)]
    assert folded.usages == [_as_told(usage) for usage in usages or [Usage()]]


@given(answers(choices=2, opaque_of=["gemini"]))
def test_any_whole_answer_is_read_back(events: list[ChatEvent]) -> None:
    folded = fold(CONVERSE.decode_answer(CONVERSE.encode_answer(events, SETTINGS)))
    assert comparable(folded.only) == comparable(expected(events))
