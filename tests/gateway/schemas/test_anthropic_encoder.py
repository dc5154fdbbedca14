"""Answers written in Anthropic's form: streams that are well-formed whatever came in which order, and whole ones."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.framing.sse import SseParser
from gateway.schemas.anthropic.messages import AnthropicMessages
from gateway.schemas.chat_dialect import AnswerSettings
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
from tests.gateway.schemas import anthropic_recordings as recorded
from tests.gateway.schemas.chat_event_strategies import answers, batches
from tests.gateway.schemas.folded_answers import Alternative, Folded, fold

MESSAGES = AnthropicMessages()
SETTINGS = AnswerSettings(model="asked")
STARTED = AnswerStarted(id="m", model="x", created=5)
STOPPED = ChoiceFinished(choice=0, reason=FinishReason.STOP)
NAME = "anthropic_messages"


def call(index: int, arguments: str = "", **first: str) -> ToolCallDelta:
    return ToolCallDelta(choice=0, index=index, arguments=arguments, **first)


def text(words: str) -> TextDelta:
    return TextDelta(choice=0, text=words)


def stream(*groups: Sequence[ChatEvent]) -> bytes:
    """The bytes of a stream, from events that come together."""
    encoder = MESSAGES.event_encoder(SETTINGS)
    return b"".join(encoder.encode(group) for group in groups) + encoder.finish()


def told(raw: bytes) -> list[dict[str, Any]]:
    """The events in the bytes, each named by its type."""
    events = []
    for event in SseParser().feed(raw):
        events.append(json.loads(event.data))
        assert event.event == events[-1]["type"]
    return events


def decoded(raw: bytes) -> list[ChatEvent]:
    decoder = MESSAGES.event_decoder()
    return [each for event in SseParser().feed(raw) for each in decoder.decode(event)]


def check_form(events: Sequence[dict[str, Any]]) -> None:
    """One start, blocks numbered as they begin, deltas of their kind within them, one end."""
    assert [event["type"] for event in events].count("message_start") == 1
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    kinds: dict[int, str] = {}
    is_open: set[int] = set()
    for event in events[1:-2]:
        index = event["index"]
        match event["type"]:
            case "content_block_start":
                assert index == len(kinds)
                kinds[index] = event["content_block"]["type"]
                assert all(kinds[other] == "tool_use" for other in is_open)
                is_open.add(index)
            case "content_block_delta":
                assert index in is_open
                assert event["delta"]["type"] in DELTAS[kinds[index]]
            case "content_block_stop":
                is_open.remove(index)
            case kind:
                pytest.fail(f"{kind} between the blocks")
    assert not is_open


DELTAS: dict[str, Sequence[str]] = {
    "text": ("text_delta", "citations_delta"),
    "thinking": ("thinking_delta", "signature_delta"),
    "redacted_thinking": (),
    "tool_use": ("input_json_delta",),
    "server_tool_use": ("input_json_delta",),
    "server_thing": (),
}


def test_stream_of_text_is_what_anthropic_sends() -> None:
    usage = UsageReported(usage=Usage(input_tokens=9, cached_input_tokens=2, cache_creation_tokens=3, output_tokens=4))
    raw = stream([STARTED], [text("a")], [text("b")], [STOPPED], [usage])
    assert told(raw) == [
        {
            "type": "message_start",
            "message": {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "asked",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 0,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0,
                    "output_tokens": 0,
                },
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "b"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {
                "input_tokens": 4,
                "cache_creation_input_tokens": 3,
                "cache_read_input_tokens": 2,
                "output_tokens": 4,
            },
        },
        {"type": "message_stop"},
    ]


@pytest.mark.parametrize(
    ("events", "blocks"),
    [
        (
            [
                ReasoningDelta(choice=0, text="h"),
                ReasoningDelta(choice=0, text="m"),
                ReasoningSigned(choice=0, signature="s"),
                ReasoningSigned(choice=0, signature="t"),
                ReasoningRedacted(choice=0, data="x"),
                text("a"),
            ],
            [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "thinking", "thinking": "", "signature": "t"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "a"},
            ],
        ),
        (
            [ReasoningDelta(choice=0, text="hm"), text("a"), ReasoningDelta(choice=0, text="oh"), text("b")],
            [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "a"},
                {"type": "thinking", "thinking": "oh", "signature": ""},
                {"type": "text", "text": "b"},
            ],
        ),
        (
            [call(0, '{"a":', id="t", name="f"), call(0, "1}"), call(1, id="u", name="g"), call(1, "{}")],
            [
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "u", "name": "g", "input": {}},
            ],
        ),
        (
            [
                text("a"),
                CitationAdded(choice=0, citation=Citation(url="https://x", title="t", extra={"start_index": 0})),
                text("b"),
            ],
            [
                {
                    "type": "text",
                    "text": "a",
                    "citations": [
                        {
                            "type": "web_search_result_location",
                            "url": "https://x",
                            "title": "t",
                            "cited_text": "",
                            "encrypted_index": "",
                        }
                    ],
                },
                {"type": "text", "text": "b"},
            ],
        ),
        (
            [
                OpaqueAdded(
                    choice=0,
                    part=OpaquePart(dialect=NAME, value={"type": "server_tool_use", "id": "s", "input": {"q": 1}}),
                ),
                OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value={"type": "server_thing", "content": []})),
                OpaqueAdded(choice=0, part=OpaquePart(dialect="another", value={"type": "x"})),
                text("a"),
            ],
            [
                {"type": "server_tool_use", "id": "s", "input": {"q": 1}},
                {"type": "server_thing", "content": []},
                {"type": "text", "text": "a"},
            ],
        ),
        (
            [
                TextDelta(choice=1, text="of another"),
                text(""),
                ReasoningDelta(choice=0, text=""),
                LogprobsDelta(choice=0, tokens=(TokenLogprob(token="a", logprob=-1),)),
                text("a"),
            ],
            [{"type": "text", "text": "a"}],
        ),
        (
            [call(0, "{}", id="t", name="f", signature='{"caller":{"type":"code","tool_id":"s"}}')],
            [
                {
                    "type": "tool_use",
                    "id": "t",
                    "name": "f",
                    "input": {},
                    "caller": {"type": "code", "tool_id": "s"},
                }
            ],
        ),
        (
            [call(0, "{}", id="t", name="f", signature="sig=")],
            [
                {"type": "thinking", "thinking": "", "signature": 'janua.call_signature:["t","sig="]'},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            ],
        ),
    ],
)
def test_blocks(events: list[ChatEvent], blocks: list[dict[str, Any]]) -> None:
    whole = json.loads(MESSAGES.encode_answer([STARTED, *events, STOPPED], SETTINGS))
    assert whole["content"] == blocks
    for raw in (stream([STARTED, *events, STOPPED]), stream([STARTED], *([event] for event in events), [STOPPED])):
        check_form(told(raw))
        assert put_together(told(raw)) == blocks


def put_together(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks that a client makes of a stream."""
    blocks: list[dict[str, Any]] = []
    given: dict[int, str] = {}
    for event in events:
        match event:
            case {"type": "content_block_start", "content_block": begins}:
                blocks.append(begins)
            case {"delta": {"type": "input_json_delta", "partial_json": piece}, "index": index}:
                given[index] = given.get(index, "") + piece
            case {"delta": {"type": "citations_delta", "citation": citation}, "index": index}:
                blocks[index].setdefault("citations", []).append(citation)
            case {"type": "content_block_delta", "delta": {"type": _, **more}, "index": index}:
                for name, piece in more.items():
                    blocks[index][name] += piece
    for index, pieces in given.items():
        blocks[index]["input"] = json.loads(pieces)
    return blocks


def test_source_without_a_text_gets_an_empty_one() -> None:
    events: list[ChatEvent] = [STARTED, CitationAdded(choice=0, citation=Citation(url="https://x")), STOPPED]
    check_form(told(stream(events)))
    whole = json.loads(MESSAGES.encode_answer(events, SETTINGS))["content"]
    assert whole == put_together(told(stream(events)))
    assert [(block["type"], block["text"], len(block["citations"])) for block in whole] == [("text", "", 1)]


def test_arguments_that_come_by_turns_are_not_lost() -> None:
    events: list[ChatEvent] = [
        call(0, id="t", name="f"),
        call(1, '{"b":', id="u", name="g"),
        call(0, '{"a":'),
        call(1, "2}"),
        text("meanwhile"),
        call(0, "1}"),
    ]
    raw = stream([STARTED, *events, STOPPED])
    check_form(told(raw))
    inputs = [block.get("input") for block in put_together(told(raw))]
    assert inputs == [{"a": 1}, {"b": 2}, None]


def test_call_whose_arguments_are_whole_ends_before_the_next_block() -> None:
    raw = stream([STARTED, call(0, "{}", id="t", name="f"), call(1, "{}", id="u", name="g"), STOPPED])
    kinds = [(event["type"], event.get("index")) for event in told(raw)[1:-2]]
    assert kinds == [
        (kind, index)
        for index in (0, 1)
        for kind in ("content_block_start", "content_block_delta", "content_block_stop")
    ]


def test_call_that_gets_its_name_late_or_never_and_no_id() -> None:
    raw = stream([STARTED, call(0, '{"a"'), call(0, ":1", name="f"), call(0, "}"), call(1, "{}"), STOPPED])
    check_form(told(raw))
    first, second = put_together(told(raw))
    assert (first["name"], first["input"], second["name"]) == ("f", {"a": 1}, "")
    assert first["id"].startswith("toolu_")
    assert first["id"] != second["id"]
    assert put_together(told(raw)) == json.loads(MESSAGES.encode_answer(decoded(raw), SETTINGS))["content"]


def test_signature_of_a_call_that_comes_late_is_not_lost() -> None:
    raw = stream([STARTED, call(0, "{}", id="t", name="f"), call(0, signature="sig="), STOPPED])
    check_form(told(raw))
    assert [block["type"] for block in put_together(told(raw))] == ["tool_use", "thinking"]
    assert put_together(told(raw))[1]["signature"] == 'janua.call_signature:["t","sig="]'


@pytest.mark.parametrize("arguments", ['{"a":1', "[]", "no JSON"])
def test_arguments_that_are_no_object_are_wrapped_in_a_whole_answer(arguments: str) -> None:
    answer = MESSAGES.encode_answer([STARTED, call(0, arguments, id="t", name="f"), STOPPED], SETTINGS)
    assert json.loads(answer)["content"][0]["input"] == {"INVALID_JSON": arguments}
    assert fold(MESSAGES.decode_answer(answer)).only.calls[0].arguments == arguments


@pytest.mark.parametrize(
    ("events", "reason", "sequence"),
    [
        ([STOPPED], "end_turn", None),
        ([ChoiceFinished(choice=0, reason=FinishReason.STOP, stop_sequence="x")], "stop_sequence", "x"),
        ([ChoiceFinished(choice=0, reason=FinishReason.LENGTH)], "max_tokens", None),
        ([ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS)], "tool_use", None),
        ([ChoiceFinished(choice=0, reason=FinishReason.CONTENT_FILTER)], "refusal", None),
        ([ChoiceFinished(choice=0, reason=None)], "end_turn", None),
        ([], "end_turn", None),
        ([call(0, "{}", id="t", name="f"), STOPPED], "tool_use", None),
        ([call(0, '{"a', id="t", name="f"), ChoiceFinished(choice=0, reason=FinishReason.LENGTH)], "max_tokens", None),
        ([RefusalDelta(choice=0, text="no"), STOPPED], "refusal", None),
        ([ChoiceFinished(choice=1, reason=FinishReason.LENGTH), STOPPED], "end_turn", None),
    ],
)
def test_why_an_answer_ended(events: list[ChatEvent], reason: str, sequence: str | None) -> None:
    whole = json.loads(MESSAGES.encode_answer([STARTED, *events], SETTINGS))
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, sequence)
    end = told(stream([STARTED, *events]))[-2]
    assert end["delta"] == {"stop_reason": reason, "stop_sequence": sequence}


def test_words_of_a_refusal_are_text() -> None:
    events: list[ChatEvent] = [STARTED, RefusalDelta(choice=0, text="no"), STOPPED]
    assert json.loads(MESSAGES.encode_answer(events, SETTINGS))["content"] == [{"type": "text", "text": "no"}]
    assert put_together(told(stream(events))) == [{"type": "text", "text": "no"}]


COST = UsageReported(usage=Usage(output_tokens=7))


@pytest.mark.parametrize(
    "events", [[text("a"), STOPPED, COST], [text("a"), COST, STOPPED], [COST, text("a"), STOPPED], [COST, STOPPED]]
)
def test_end_is_told_once_with_the_usage_wherever_that_comes(events: list[ChatEvent]) -> None:
    for groups in ([[STARTED, *events]], [[STARTED], *([event] for event in events)], [[event] for event in events]):
        raw = told(stream(*groups))
        check_form(raw)
        assert raw[-2]["usage"]["output_tokens"] == 7


def test_nothing_is_held_back() -> None:
    encoder = MESSAGES.event_encoder(SETTINGS)
    steps: list[tuple[ChatEvent, str]] = [
        (STARTED, "message_start"),
        (text("a"), "text_delta"),
        (ReasoningDelta(choice=0, text="hm"), "thinking_delta"),
        (ReasoningSigned(choice=0, signature="s"), "signature_delta"),
        (call(0, '{"a', id="t", name="f"), "input_json_delta"),
        (call(0, '":1}'), "input_json_delta"),
        (STOPPED, "content_block_stop"),
        (UsageReported(usage=Usage()), "message_delta"),
    ]
    for event, kind in steps:
        assert kind.encode() in encoder.encode([event])
    assert told(encoder.finish()) == [{"type": "message_stop"}]


def test_stream_without_events_is_an_empty_answer() -> None:
    check_form(told(stream()))
    check_form(told(stream([STOPPED])))
    check_form(told(stream([text("a")])))
    assert json.loads(MESSAGES.encode_answer([], SETTINGS))["content"] == []


# The law.


def as_anthropic_says_it(folded: Folded) -> Alternative:
    """What is left of an answer in this dialect: one alternative, refusals as text, no probabilities."""
    said = folded.choices.get(0, Alternative())
    is_refused = bool(said.refusal)
    reason = next((reason for reason, _ in said.finishes), None)
    if reason in (None, FinishReason.STOP):
        reason = FinishReason.STOP
        if said.calls:
            reason = FinishReason.TOOL_CALLS
        elif is_refused:
            reason = FinishReason.CONTENT_FILTER
    return Alternative(
        text=said.text,
        thoughts=said.thoughts,
        calls={
            number: ToolCall(id=each.id, name=each.name, arguments=each.arguments)
            for number, each in enumerate(said.calls.values())
        },
        citations=[Citation(url=each.url, title=each.title, cited_text=each.cited_text) for each in said.citations],
        opaque=[part for part in said.opaque if part.dialect == NAME],
        finishes=[(reason, None)],
    )


def comparable(folded: Folded) -> Alternative:
    """One alternative, sources without what this dialect adds."""
    said = folded.only
    said.citations = [Citation(url=each.url, title=each.title, cited_text=each.cited_text) for each in said.citations]
    return said


def without_refusals(events: Sequence[ChatEvent]) -> list[ChatEvent]:
    return [
        TextDelta(choice=event.choice, text=event.text) if isinstance(event, RefusalDelta) else event
        for event in events
    ]


@given(st.data(), answers(choices=2, opaque_of=(NAME, "another")))
def test_any_answer_is_a_well_formed_stream_that_says_the_same(data: st.DataObject, events: list[ChatEvent]) -> None:
    """Field failure: thinking deltas inside a text block, `message_start` twice."""
    raw = stream(*data.draw(batches(events)))
    check_form(told(raw))
    folded = fold(decoded(raw))
    expected = as_anthropic_says_it(fold(events))
    expected.text = fold(without_refusals(events)).choices.get(0, Alternative()).text
    assert comparable(folded) == expected
    usages = fold(events).usages or [Usage()]
    assert folded.usages == usages
    assert [each.id for each in folded.starts] == [each.id for each in fold(events).starts]


@given(answers(choices=2, opaque_of=(NAME, "another")))
def test_whole_answer_says_what_the_stream_says(events: list[ChatEvent]) -> None:
    whole = json.loads(MESSAGES.encode_answer(events, SETTINGS))
    streamed = told(stream(events))
    assert by_kind(whole["content"]) == by_kind(put_together(streamed))
    assert whole["usage"] == streamed[-2]["usage"]
    assert {name: whole[name] for name in ("stop_reason", "stop_sequence")} == streamed[-2]["delta"]


def by_kind(blocks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Blocks apart by their kind: a source after its text has ended gets a block of its own in a stream."""
    texts = [block for block in blocks if block["type"] == "text"]
    return {
        "text": "".join(block["text"] for block in texts),
        "sources": [source for block in texts for source in block.get("citations", ())],
        "rest": [block for block in blocks if block["type"] != "text"],
    }


# Recordings.


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.STREAMS)
def test_recorded_stream_says_the_same_when_written_again(name: str) -> None:
    decoder = MESSAGES.event_decoder()
    groups = [list(decoder.decode(event)) for event in recorded.load(name).events]
    raw = stream(*groups)
    check_form_of_recorded(told(raw))
    before, after = fold(event for group in groups for event in group), fold(decoded(raw))
    assert after.usages == before.usages
    assert after.only == without_places(before, after)


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.WHOLE)
def test_recorded_answer_says_the_same_when_written_again(name: str) -> None:
    body = recorded.load(name).body
    before, after = json.loads(body), json.loads(MESSAGES.encode_answer(MESSAGES.decode_answer(body), SETTINGS))
    assert by_kind(after["content"]) == by_kind(before["content"])
    for field in ("id", "role", "type", "stop_reason", "stop_sequence"):
        assert after[field] == before[field]
    for field, count in after["usage"].items():
        assert count == (before["usage"].get(field) or 0)


def check_form_of_recorded(events: Sequence[dict[str, Any]]) -> None:
    for event in events:
        if event["type"] == "content_block_start" and event["content_block"]["type"].endswith("_tool_result"):
            event["content_block"]["type"] = "server_thing"
    check_form(events)


def without_places(before: Folded, after: Folded) -> Alternative:
    """What was said before; where sources stand in the text changes, for uncited text joins the cited after it."""
    said = before.only
    for number, (old, new) in enumerate(zip(said.citations, after.only.citations, strict=True)):
        assert old.extra is not None
        assert new.extra is not None
        places = {name: new.extra[name] for name in ("start_index", "end_index")}
        assert places["end_index"] == old.extra["end_index"]
        said.citations[number] = Citation(
            url=old.url, title=old.title, cited_text=old.cited_text, extra={**old.extra, **places}
        )
    return said
