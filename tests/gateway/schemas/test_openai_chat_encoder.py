"""Answers for clients of OpenAI's chat completions: whole, and chunk by chunk, with what the events said."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.framing.sse import SseParser
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.openai.chat import OpenAIChat
from gateway.schemas.openai.chat_encoder import ChunkEncoder, usage_fields
from gateway.schemas.openai.fields import read_usage
from gateway.schemas.openai.reasoning import read_reasoning_details
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FinishReason,
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
    ToolCallDelta,
    Usage,
    UsageReported,
)
from tests.gateway.schemas.chat_event_strategies import answers, batches, usages
from tests.gateway.schemas.dialect_streams import SETTINGS, streamed, through_stream, through_whole
from tests.gateway.schemas.folded_answers import Alternative, Folded, fold

OPENAI = OpenAIChat()
STARTED = AnswerStarted(id="a-1", model="upstream", created=5, system_fingerprint="fp")
TOKEN = TokenLogprob(token="t", logprob=-0.5, bytes=b"t", top=(TokenLogprob(token="u", logprob=-1.0, bytes=b"u"),))
JSON_TOKEN = {
    "token": "t",
    "logprob": -0.5,
    "bytes": [116],
    "top_logprobs": [{"token": "u", "logprob": -1.0, "bytes": [117]}],
}
FULL: list[ChatEvent] = [
    STARTED,
    ReasoningDelta(choice=0, text="h"),
    ReasoningDelta(choice=0, text="m"),
    ReasoningSigned(choice=0, signature="s"),
    ReasoningRedacted(choice=0, data="x"),
    TextDelta(choice=0, text="a"),
    TextDelta(choice=0, text="b"),
    CitationAdded(choice=0, citation=Citation(url="https://x", title="t", extra={"start_index": 1, "other": 2})),
    RefusalDelta(choice=0, text="no"),
    ToolCallDelta(choice=0, index=0, id="c", name="f", arguments='{"a"', signature="g"),
    ToolCallDelta(choice=0, index=0, arguments=":1}"),
    LogprobsDelta(choice=0, tokens=(TOKEN,)),
    OpaqueAdded(choice=0, part=OpaquePart(dialect="other", value={"type": "search"})),
    ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS),
    UsageReported(usage=Usage(input_tokens=5, output_tokens=7)),
]
DETAILS = [{"type": "reasoning.text", "text": "hm", "signature": "s"}, {"type": "reasoning.encrypted", "data": "x"}]
ANNOTATION = {"type": "url_citation", "url_citation": {"url": "https://x", "title": "t", "start_index": 1}}
GOOGLE = {"google": {"thought_signature": "g"}}
USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 7,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}


def chunks(*groups: list[ChatEvent], settings: AnswerSettings = SETTINGS) -> list[dict[str, Any]]:
    """The chunks of a stream, without what all of them have."""
    encoder = ChunkEncoder(settings)
    found = []
    for group in groups:
        for event in SseParser().feed(encoder.encode(group)):
            chunk = json.loads(event.data)
            head = [chunk.pop(name) for name in ("id", "object", "created", "model", "system_fingerprint")]
            assert head == ["a-1", "chat.completion.chunk", 5, "asked", "fp"]
            found.append(chunk)
    assert encoder.finish() == b"data: [DONE]\n\n"
    return found


def delta(*, finish_reason: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": fields, "finish_reason": finish_reason}]}


def test_whole_answer() -> None:
    assert json.loads(OPENAI.encode_answer(FULL, SETTINGS)) == {
        "id": "a-1",
        "object": "chat.completion",
        "created": 5,
        "model": "asked",
        "system_fingerprint": "fp",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "ab",
                    "refusal": "no",
                    "reasoning_content": "hm",
                    "reasoning_details": DETAILS,
                    "annotations": [ANNOTATION],
                    "tool_calls": [
                        {
                            "id": "c",
                            "type": "function",
                            "function": {"name": "f", "arguments": '{"a":1}'},
                            "extra_content": GOOGLE,
                        }
                    ],
                },
                "logprobs": {"content": [JSON_TOKEN], "refusal": None},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": USAGE,
    }


def test_chunks_go_out_as_the_events_come() -> None:
    assert chunks(*([event] for event in FULL)) == [
        delta(
            role="assistant",
            content="",
            reasoning_content="h",
            reasoning_details=[{"type": "reasoning.text", "text": "h", "index": 0}],
        ),
        delta(reasoning_content="m", reasoning_details=[{"type": "reasoning.text", "text": "m", "index": 0}]),
        delta(reasoning_details=[{"type": "reasoning.text", "text": "", "signature": "s", "index": 0}]),
        delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "x", "index": 1}]),
        delta(content="a"),
        delta(content="b"),
        delta(annotations=[ANNOTATION]),
        delta(refusal="no"),
        delta(
            tool_calls=[
                {
                    "index": 0,
                    "id": "c",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"a"'},
                    "extra_content": GOOGLE,
                }
            ]
        ),
        delta(tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}]),
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {},
                    "finish_reason": None,
                    "logprobs": {"content": [JSON_TOKEN], "refusal": None},
                }
            ]
        },
        delta(finish_reason="tool_calls"),
        {"choices": [], "usage": USAGE},
    ]


def test_what_came_together_goes_together() -> None:
    texts = [TextDelta(choice=index, text=text) for index, text in ((0, "a"), (1, "b"), (0, "c"))]
    assert chunks([STARTED, *texts, ChoiceFinished(choice=1, reason=FinishReason.STOP)]) == [
        delta(role="assistant", content="ac"),
        delta(index=1, role="assistant", content="b", finish_reason="stop"),
    ]


def test_usage_of_a_stream_is_told_where_it_was_asked_for() -> None:
    plain = AnswerSettings(model="asked", includes_usage=False)
    reported = UsageReported(usage=Usage())
    assert chunks([STARTED, reported, TextDelta(choice=0, text="a")], settings=plain) == [
        delta(role="assistant", content="a")
    ]


@pytest.mark.parametrize("reason", [None, *FinishReason])
def test_every_reason_to_finish_is_told(reason: FinishReason | None) -> None:
    events: list[ChatEvent] = [STARTED, ChoiceFinished(choice=0, reason=reason)]
    told = (reason or FinishReason.STOP).value
    assert chunks(events) == [delta(role="assistant", content="", finish_reason=told)]
    assert json.loads(OPENAI.encode_answer(events, SETTINGS))["choices"][0]["finish_reason"] == told


def test_message_of_calls_alone_has_no_content() -> None:
    call = ToolCallDelta(choice=0, index=0, id="c", name="f")
    (choice,) = json.loads(OPENAI.encode_answer([STARTED, call], SETTINGS))["choices"]
    assert choice["message"]["content"] is None


def test_nothing_makes_no_chunk() -> None:
    assert chunks([], [STARTED]) == []


@given(usages())
def test_usage_written_and_read_again(usage: Usage) -> None:
    sound = replace(usage, audio_input_tokens=1, audio_output_tokens=2)
    assert read_usage(json.dumps({"usage": usage_fields(sound)}).encode()) == sound


def test_thoughts_of_a_stream_can_be_sent_back_with_their_signatures() -> None:
    thoughts = [event for event in FULL if isinstance(event, ReasoningDelta | ReasoningSigned | ReasoningRedacted)]
    events: list[ChatEvent] = [*thoughts, ReasoningDelta(choice=0, text="so"), ReasoningSigned(choice=0, signature="t")]
    details = [
        detail
        for chunk in chunks([STARTED], *([event] for event in events))
        for detail in chunk["choices"][0]["delta"]["reasoning_details"]
    ]
    assert read_reasoning_details(details) == [
        ReasoningPart(text="hm", signature="s"),
        ReasoningPart(redacted="x"),
        ReasoningPart(text="so", signature="t"),
    ]


def as_openai_says_it(folded: Folded) -> dict[int, Alternative]:
    return {
        index: replace(
            told,
            opaque=[],
            calls=dict(sorted(told.calls.items())),
            finishes=[(reason or FinishReason.STOP, None) for reason, _ in told.finishes],
        )
        for index, told in folded.choices.items()
    }


@given(answers(choices=3, opaque_of=["other"]), st.data())
def test_any_answer_is_read_again_as_it_was(events: list[ChatEvent], data: st.DataObject) -> None:
    before = fold(events)
    for again in (through_stream(OPENAI, data.draw(batches(events))), through_whole(OPENAI, events)):
        after = fold(again)
        assert as_openai_says_it(after) == as_openai_says_it(before)
        assert after.usages == before.usages
        assert [started.id for started in after.starts] == [started.id for started in before.starts]


@given(answers(choices=2), st.data())
def test_stream_has_one_chunk_with_the_role_for_each_alternative(events: list[ChatEvent], data: st.DataObject) -> None:
    raw = streamed(OPENAI, data.draw(batches(events)))
    told = [json.loads(event.data) for event in SseParser().feed(raw) if event.data != b"[DONE]"]
    roles = [choice["index"] for chunk in told for choice in chunk["choices"] if "role" in choice["delta"]]
    assert sorted(roles) == sorted(fold(events).choices)
    assert raw.endswith(b"data: [DONE]\n\n")
