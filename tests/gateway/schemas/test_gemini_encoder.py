"""Answers for clients of Gemini: whole, and piece by piece, with what the events said."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.framing.sse import SseParser
from gateway.schemas.gemini.generate_content import GeminiGenerateContent
from gateway.schemas.gemini.request import NAME
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FinishReason,
    JsonValue,
    LogprobsDelta,
    OpaqueAdded,
    OpaquePart,
    ReasoningDelta,
    ReasoningPart,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from tests.gateway.schemas.chat_event_strategies import answers, batches
from tests.gateway.schemas.dialect_streams import SETTINGS, streamed, through_stream, through_whole
from tests.gateway.schemas.folded_answers import Alternative, fold

GEMINI = GeminiGenerateContent()
STARTED = AnswerStarted(id="r-1", model="upstream", created=5)


def pieces(*groups: list[ChatEvent]) -> list[dict[str, Any]]:
    """The pieces of a stream, without what all of them have."""
    found = [json.loads(event.data) for event in SseParser().feed(streamed(GEMINI, groups))]
    for piece in found:
        assert (piece.pop("modelVersion"), piece.pop("responseId")) == ("asked", "r-1")
    return found


def content(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": 0, **fields}]}


def test_pieces_go_out_as_they_come() -> None:
    assert pieces(
        [STARTED],
        [ReasoningDelta(choice=0, text="hm"), ReasoningSigned(choice=0, signature="s")],
        [TextDelta(choice=0, text="a"), TextDelta(choice=0, text="b")],
        [TextDelta(choice=0, text="c")],
        [ChoiceFinished(choice=0, reason=FinishReason.STOP)],
        [UsageReported(usage=Usage(input_tokens=1, output_tokens=3, reasoning_tokens=2, cached_input_tokens=1))],
    ) == [
        content({"text": "hm", "thought": True, "thoughtSignature": "s"}),
        content({"text": "ab"}),
        content({"text": "c"}),
        content(finishReason="STOP"),
        {
            "usageMetadata": {
                "promptTokenCount": 1,
                "candidatesTokenCount": 1,
                "totalTokenCount": 4,
                "thoughtsTokenCount": 2,
                "cachedContentTokenCount": 1,
            }
        },
    ]


def test_signature_of_what_went_out_already_comes_alone() -> None:
    signed = ReasoningSigned(choice=0, signature="s")
    assert pieces([STARTED, ReasoningDelta(choice=0, text="hm")], [signed])[1:] == [
        content({"text": "", "thoughtSignature": "s"})
    ]


def test_call_goes_out_when_it_is_whole() -> None:
    begun = ToolCallDelta(choice=0, index=0, id="c", name="f", arguments='{"a"', signature="s")
    call = {"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}, "thoughtSignature": "s"}
    assert pieces(
        [STARTED, begun],
        [ToolCallDelta(choice=0, index=0, arguments=":1}")],
        [ToolCallDelta(choice=0, index=1, id="d", name="g")],
        [ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS)],
    ) == [content(call), content({"functionCall": {"id": "d", "name": "g", "args": {}}}, finishReason="STOP")]


def test_calls_that_come_by_turns_are_kept_apart_and_in_order() -> None:
    events = [
        ToolCallDelta(choice=0, index=0, id="c", name="f", arguments='{"a"'),
        ToolCallDelta(choice=0, index=1, id="d", name="g", arguments="{"),
        ToolCallDelta(choice=0, index=1, arguments="}"),
        ToolCallDelta(choice=0, index=0, arguments=":1}"),
    ]
    calls = fold(through_stream(GEMINI, [[STARTED], *([event] for event in events)])).only.calls
    assert [(call.id, call.name, call.arguments) for call in calls.values()] == [
        ("c", "f", '{"a":1}'),
        ("d", "g", "{}"),
    ]


@pytest.mark.parametrize("arguments", ["[1]", "5", "{", '"a"', "no"])
def test_arguments_that_are_no_object_are_kept_under_a_name(arguments: str) -> None:
    call = ToolCallDelta(choice=0, index=0, id="c", name="f", arguments=arguments)
    (piece,) = pieces([STARTED, call, ChoiceFinished(choice=0, reason=None)])
    (part,) = piece["candidates"][0]["content"]["parts"]
    assert list(part["functionCall"]["args"]) == ["arguments"]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (FinishReason.STOP, "STOP"),
        (FinishReason.TOOL_CALLS, "STOP"),
        (FinishReason.LENGTH, "MAX_TOKENS"),
        (FinishReason.CONTENT_FILTER, "SAFETY"),
        (None, "OTHER"),
    ],
)
def test_every_reason_to_finish_is_told(reason: FinishReason | None, told: str) -> None:
    assert pieces([STARTED, ChoiceFinished(choice=0, reason=reason)]) == [content(finishReason=told)]


def test_sources_of_gemini_itself_go_back_as_they_were() -> None:
    found: dict[str, JsonValue] = {"groundingChunks": [{"web": {"uri": "https://w"}}], "webSearchQueries": ["q"]}
    events: list[ChatEvent] = [
        STARTED,
        CitationAdded(choice=0, citation=Citation(url="https://c", title="t", extra={"endIndex": 3, "foreign": 1})),
        CitationAdded(choice=0, citation=Citation(url="https://w", extra={"groundingMetadata": True})),
        OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value={"groundingMetadata": found})),
        OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value={"toolCall": {"id": "t"}})),
        OpaqueAdded(choice=0, part=OpaquePart(dialect="other", value={"type": "search"})),
    ]
    assert pieces(events) == [
        content(
            {"toolCall": {"id": "t"}},
            citationMetadata={"citations": [{"uri": "https://c", "title": "t", "endIndex": 3}]},
            groundingMetadata=found,
        )
    ]


def test_sound_in_usage() -> None:
    usage = Usage(input_tokens=5, output_tokens=7, audio_input_tokens=2, audio_output_tokens=7)
    (piece,) = pieces([STARTED, UsageReported(usage=usage)])
    assert piece["usageMetadata"]["promptTokensDetails"] == [
        {"modality": "TEXT", "tokenCount": 3},
        {"modality": "AUDIO", "tokenCount": 2},
    ]
    assert piece["usageMetadata"]["candidatesTokensDetails"] == [{"modality": "AUDIO", "tokenCount": 7}]


def test_alternatives() -> None:
    events = [TextDelta(choice=index, text=str(index)) for index in (2, 0)]
    answer = json.loads(GEMINI.encode_answer([STARTED, *events], SETTINGS))
    assert [(each["index"], each["content"]["parts"]) for each in answer["candidates"]] == [
        (0, [{"text": "0"}]),
        (2, [{"text": "2"}]),
    ]


def test_probabilities() -> None:
    top = TokenLogprob(token="c", logprob=-1.0, bytes=b"c")
    token = TokenLogprob(token="ä", logprob=-0.5, bytes="ä".encode(), top=(top,))
    events: list[ChatEvent] = [
        STARTED,
        LogprobsDelta(choice=0, tokens=(token,)),
        ChoiceFinished(choice=0, reason=FinishReason.STOP),
    ]
    assert fold(through_whole(GEMINI, events)).only.logprobs == [token]


def test_what_gemini_does_not_have_is_left_out_and_a_refusal_is_text() -> None:
    assert pieces([STARTED, ReasoningRedacted(choice=0, data="x")], [RefusalDelta(choice=0, text="no")]) == [
        content({"text": "no"})
    ]


def test_nothing_makes_no_piece_but_a_whole_answer() -> None:
    assert pieces([STARTED]) == []
    assert json.loads(GEMINI.encode_answer([STARTED], SETTINGS)) == {"modelVersion": "asked", "responseId": "r-1"}


def as_gemini_says_it(events: list[ChatEvent], choice: int) -> Alternative:
    """What is left of an alternative: a refusal is text, thoughts that cannot be read are not told."""
    told = fold(event for event in events if getattr(event, "choice", choice) == choice).choices[choice]
    words = [event.text for event in events if isinstance(event, TextDelta | RefusalDelta) and event.choice == choice]
    ((reason, _),) = told.finishes
    if told.calls:
        reason = FinishReason.TOOL_CALLS if reason is FinishReason.STOP else reason
    elif reason is FinishReason.TOOL_CALLS:
        reason = FinishReason.STOP
    readable = fold(event for event in events if not isinstance(event, ReasoningRedacted)).choices[choice]
    return replace(
        told,
        text="".join(words),
        refusal="",
        thoughts=joined(readable.thoughts),
        opaque=[part for part in told.opaque if part.dialect == NAME],
        logprobs=[replace(token, bytes=token.token.encode()) for token in told.logprobs],
        finishes=[(reason, None)],
        calls={number: comparable(call) for number, call in enumerate(told.calls.values())},
    )


def joined(thoughts: list[ReasoningPart]) -> list[ReasoningPart]:
    return [thought for thought in thoughts if thought.text or thought.signature]


def comparable(call: ToolCall) -> ToolCall:
    return replace(call, arguments=json.dumps(json.loads(call.arguments or "{}")))


def as_read_again(events: list[ChatEvent], choice: int) -> Alternative:
    told = fold(events).choices[choice]
    return replace(told, calls={number: comparable(call) for number, call in told.calls.items()})


@given(answers(choices=2, opaque_of=[NAME, "other"]), st.data())
def test_any_answer_is_read_again_as_it_was(events: list[ChatEvent], data: st.DataObject) -> None:
    groups = data.draw(batches(events))
    for again in (through_stream(GEMINI, groups), through_whole(GEMINI, events)):
        folded, before = fold(again), fold(events)
        assert folded.choices.keys() == before.choices.keys()
        for choice in before.choices:
            assert as_read_again(again, choice) == as_gemini_says_it(events, choice)
        assert folded.usages == [replace(usage, cache_creation_tokens=0) for usage in before.usages]
        assert [started.id for started in folded.starts] == [started.id for started in before.starts]
