"""Answers of Anthropic's messages, recorded and made up, whole and streamed, read without loss."""

import contextlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadGatewayError
from gateway.framing.sse import ServerSentEvent, SseParser, encode_event
from gateway.schemas.anthropic.answer import EventDecoder, decode_answer
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
    ReasoningPart,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from tests.gateway.schemas import anthropic_recordings as recorded
from tests.gateway.schemas.folded_answers import Alternative, Folded, fold
from tests.support.pieces import cut

NAME = "anthropic_messages"


def opaque(**value: Any) -> OpaqueAdded:
    return OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value=value))


def decode(events: Iterable[ServerSentEvent]) -> list[ChatEvent]:
    decoder = EventDecoder()
    return [each for event in events for each in decoder.decode(event)]


def stream(*events: dict[str, Any]) -> list[ChatEvent]:
    return decode(ServerSentEvent(json.dumps(event).encode(), "", b"") for event in events)


def block(*deltas: dict[str, Any], index: int = 0, **begins: Any) -> list[dict[str, Any]]:
    """The events of one block of a stream."""
    return [
        {"type": "content_block_start", "index": index, "content_block": begins},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def of_blocks(*events: dict[str, Any]) -> list[ChatEvent]:
    """What events within an answer bring."""
    start: dict[str, Any] = {"type": "message_start", "message": {"id": "m", "model": "x"}}
    started, *rest = stream(start, *events)
    assert isinstance(started, AnswerStarted)
    return rest


CITATION = {"type": "web_search_result_location", "url": "https://x", "title": "t", "cited_text": "c"}


@pytest.mark.parametrize(
    ("events", "brings"),
    [
        (
            block({"type": "text_delta", "text": "a"}, {"type": "text_delta", "text": "b"}, type="text", text=""),
            [TextDelta(choice=0, text="a"), TextDelta(choice=0, text="b")],
        ),
        (block({"type": "text_delta", "text": ""}, type="text", text="a"), [TextDelta(choice=0, text="a")]),
        (block(type="text"), []),
        (
            block({"type": "citations_delta", "citation": CITATION}, {"type": "text_delta", "text": "ab"}, type="text"),
            [
                TextDelta(choice=0, text="ab"),
                CitationAdded(
                    choice=0,
                    citation=Citation(
                        url="https://x",
                        title="t",
                        cited_text="c",
                        extra={"type": "web_search_result_location", "start_index": 0, "end_index": 2},
                    ),
                ),
            ],
        ),
        (
            block(
                {"type": "thinking_delta", "thinking": "hm"},
                {"type": "signature_delta", "signature": "s1"},
                {"type": "signature_delta", "signature": "s2"},
                type="thinking",
                thinking="",
                signature="",
            ),
            [ReasoningDelta(choice=0, text="hm"), ReasoningSigned(choice=0, signature="s1s2")],
        ),
        (
            block({"type": "signature_delta", "signature": "s"}, type="thinking", thinking=""),
            [ReasoningSigned(choice=0, signature="s")],
        ),
        (block({"type": "thinking_delta", "thinking": "hm"}, type="thinking"), [ReasoningDelta(choice=0, text="hm")]),
        (block(type="redacted_thinking", data="x"), [ReasoningRedacted(choice=0, data="x")]),
        (
            block(
                {"type": "input_json_delta", "partial_json": ""},
                {"type": "input_json_delta", "partial_json": '{"a":'},
                {"type": "input_json_delta", "partial_json": "1}"},
                type="tool_use",
                id="t",
                name="f",
                input={},
                caller={"type": "direct"},
            ),
            [
                ToolCallDelta(choice=0, index=0, id="t", name="f"),
                ToolCallDelta(choice=0, index=0, arguments='{"a":'),
                ToolCallDelta(choice=0, index=0, arguments="1}"),
            ],
        ),
        (
            block({"type": "input_json_delta", "partial_json": ""}, type="tool_use", id="t", name="f", input={}),
            [
                ToolCallDelta(choice=0, index=0, id="t", name="f"),
                ToolCallDelta(choice=0, index=0, arguments="{}"),
            ],
        ),
        (
            block(type="tool_use", id="t", name="f", input={"a": 1}, caller={"type": "code", "tool_id": "s"}),
            [
                ToolCallDelta(
                    choice=0, index=0, id="t", name="f", signature='{"caller":{"type":"code","tool_id":"s"}}'
                ),
                ToolCallDelta(choice=0, index=0, arguments='{"a":1}'),
            ],
        ),
        (
            block(
                {"type": "input_json_delta", "partial_json": '{"query":'},
                {"type": "input_json_delta", "partial_json": '"q"}'},
                type="server_tool_use",
                id="s",
                name="web_search",
                input={},
            ),
            [opaque(type="server_tool_use", id="s", name="web_search", input={"query": "q"})],
        ),
        (
            block(type="web_search_tool_result", tool_use_id="s", content=[{"page_age": None}]),
            [opaque(type="web_search_tool_result", tool_use_id="s", content=[{"page_age": None}])],
        ),
        (
            block(
                {"type": "compaction_delta", "content": "so "},
                {"type": "compaction_delta", "content": "far"},
                {"type": "citations_delta", "citation": {"type": "x"}},
                type="compaction",
                content=None,
            ),
            [opaque(type="compaction", content="so far", citations=[{"type": "x"}])],
        ),
        (
            block({"type": "odd_delta", "text": {"not": "a text"}}, type="odd", text=5),
            [opaque(type="odd", text={"not": "a text"})],
        ),
        (
            block({"type": "new_delta", "text": "a"}, {"type": "new_delta", "text": 5}, type="text", text=""),
            [],
        ),
        (
            [
                {"type": "content_block_start", "index": 0, "content_block": {"type": "odd"}},
                {"type": "content_block_delta", "index": 0},
                {"type": "content_block_stop", "index": 0},
            ],
            [opaque(type="odd")],
        ),
        ([{"type": "ping"}], []),
        ([{"type": "new_event", "message": "a text", "index": "x"}], []),
        ([{"type": "content_block_stop", "index": 7}], []),
    ],
)
def test_events_within_an_answer(events: list[dict[str, Any]], brings: list[ChatEvent]) -> None:
    assert of_blocks(*events) == brings


def test_blocks_that_are_open_beside_each_other_are_told_apart() -> None:
    first, second = (
        block(
            {"type": "input_json_delta", "partial_json": "{}"}, type="tool_use", id=f"t{index}", name="f", index=index
        )
        for index in (3, 5)
    )
    mixed = [event for pair in zip(first, second, strict=True) for event in pair]
    assert fold(of_blocks(*mixed)).only.calls.keys() == {0, 1}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("refusal", FinishReason.CONTENT_FILTER),
        ("pause_turn", None),
        ("something_new", None),
    ],
)
def test_why_an_answer_ended(reason: str, finish: FinishReason | None) -> None:
    delta = {"stop_reason": reason, "stop_sequence": "```"}
    expected = ChoiceFinished(choice=0, reason=finish, stop_sequence="```")
    assert of_blocks({"type": "message_delta", "delta": delta}, {"type": "message_stop"}) == [expected]
    whole = decode_answer(json.dumps({"type": "message", "content": [], **delta}).encode())
    assert whole[1:] == [expected]


def test_refusal_is_told_with_its_explanation() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "too dangerous"}
    delta = {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
    assert of_blocks({"type": "message_delta", "delta": delta}) == [
        RefusalDelta(choice=0, text="too dangerous"),
        ChoiceFinished(choice=0, reason=FinishReason.CONTENT_FILTER),
    ]


def test_answer_that_does_not_say_why_it_ended_ends() -> None:
    begins, *_ = block(type="server_tool_use", id="s", input={})
    assert of_blocks(begins, {"type": "message_stop"}) == [
        opaque(type="server_tool_use", id="s", input={}),
        ChoiceFinished(choice=0, reason=None),
    ]


@pytest.mark.parametrize(
    ("start", "end", "usage"),
    [
        (None, None, None),
        ({"input_tokens": 5, "output_tokens": 1}, None, Usage(input_tokens=5, output_tokens=1)),
        ({"input_tokens": 5, "output_tokens": 1}, {"output_tokens": 7}, Usage(input_tokens=5, output_tokens=7)),
        (
            {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1},
            {"input_tokens": 0, "output_tokens": 7},
            Usage(input_tokens=7, cached_input_tokens=2, output_tokens=7),
        ),
        (
            {"input_tokens": 5, "output_tokens": 1},
            {
                "input_tokens": 50,
                "cache_read_input_tokens": 20,
                "cache_creation_input_tokens": 10,
                "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 3},
            },
            Usage(
                input_tokens=80, cached_input_tokens=20, cache_creation_tokens=10, output_tokens=7, reasoning_tokens=3
            ),
        ),
    ],
)
def test_usage_is_told_once_with_all_that_was_said_of_it(
    start: dict[str, Any] | None, end: dict[str, Any] | None, usage: Usage | None
) -> None:
    events = stream(
        {"type": "message_start", "message": {"usage": start}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end},
        {"type": "message_stop"},
    )
    assert events[2:] == ([] if usage is None else [UsageReported(usage=usage)])


def test_answer_begins_once_even_if_its_start_is_missing_or_comes_twice() -> None:
    start = {"type": "message_start", "message": {"id": "m", "model": "x"}}
    assert len(fold(stream(start, start)).starts) == 1
    assert len(fold(stream(*block(type="text", text="a"), *block(type="text", text="b"))).starts) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"[]",
        b"{}",
        b"[DONE]",
        b'{"type":5}',
        b'{"type":"content_block_start","index":0}',
        b'{"type":"content_block_start","index":0,"content_block":5}',
        b'{"type":"content_block_start","index":0,"content_block":{"text":"a"}}',
        b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":5}}',
        b'{"type":"content_block_delta","index":9,"delta":{"type":"text_delta","text":"lost"}}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":5}}',
        b'{"type":"message_delta","delta":{"stop_reason":5}}',
        b'{"type":"message_start","message":{"usage":{"input_tokens":"many"}}}',
        b'{"type":"\xff"}',
        b'{"type":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_event_is_an_error_of_the_upstream(data: bytes) -> None:
    with pytest.raises(BadGatewayError, match="cannot be understood") as caught:
        decode([ServerSentEvent(data, "", data)])
    assert caught.value.reason == "UPSTREAM_MALFORMED"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b'{"type":"something"}',
        b'{"content":5}',
        b'{"content":[5]}',
        b'{"type":"message","content":[{"type":"text","text":5}]}',
        b'{"type":"message","content":[{"type":"tool_use","input":"{}"}]}',
        b'{"type":"message","content":[{"text":"a"}]}',
    ],
)
def test_what_is_no_answer_is_an_error_of_the_upstream(data: bytes) -> None:
    with pytest.raises(BadGatewayError, match="cannot be understood") as caught:
        decode_answer(data)
    assert caught.value.reason == "UPSTREAM_MALFORMED"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, "the upstream failed: Overloaded"),
        ({"type": "api_error"}, "the upstream failed"),
        (None, "the upstream failed"),
    ],
)
def test_error_in_place_of_an_answer(error: object, message: str) -> None:
    data = json.dumps({"type": "error", "error": error}).encode()
    for name in ("error", ""):
        with pytest.raises(BadGatewayError) as caught:
            decode([ServerSentEvent(data, name, data)])
        assert (str(caught.value), caught.value.reason) == (message, "UPSTREAM_FAILED")
    with pytest.raises(BadGatewayError) as caught:
        decode_answer(data)
    assert (str(caught.value), caught.value.reason) == (message, "UPSTREAM_FAILED")


def test_event_of_comments_alone_brings_nothing() -> None:
    assert EventDecoder().decode(ServerSentEvent(b"", "", b": hi\n\n")) == ()


@given(st.binary(max_size=80), st.sampled_from(["", "error", "content_block_delta"]))
def test_garbage_raises_nothing_but_the_named_error(data: bytes, name: str) -> None:
    with contextlib.suppress(BadGatewayError):
        decode_answer(data)
    with contextlib.suppress(BadGatewayError):
        decode([ServerSentEvent(data, name, data)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab{}", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "a"]), inner, max_size=2)
    ),
    max_leaves=5,
)
FIELDS = ["index", "delta", "content_block", "message", "usage", "error", "content", "stop_reason"]


@given(
    st.lists(
        st.builds(
            lambda kind, fields: {"type": kind, **fields},
            st.sampled_from(["message_start", "content_block_start", "content_block_delta", "message_delta", "odd"]),
            st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3),
        ),
        max_size=4,
    )
)
def test_odd_events_raise_nothing_but_the_named_error(events: list[dict[str, Any]]) -> None:
    with contextlib.suppress(BadGatewayError):
        stream(*events)


# Recordings, read a second time in the plainest way.


def read_plainly(blocks: Sequence[dict[str, Any]]) -> Alternative:
    """What complete blocks say."""
    said = Alternative()
    for each in blocks:
        match each["type"]:
            case "text":
                said.text += each["text"]
                said.citations += [source_of(citation) for citation in each.get("citations") or ()]
            case "thinking":
                said.thoughts.append(ReasoningPart(text=each["thinking"], signature=each["signature"]))
            case "redacted_thinking":
                said.thoughts.append(ReasoningPart(redacted=each["data"]))
            case "tool_use":
                said.call(
                    ToolCallDelta(
                        choice=0,
                        index=len(said.calls),
                        id=each["id"],
                        name=each["name"],
                        arguments=json.dumps(each["input"]),
                    )
                )
            case _:
                said.opaque.append(OpaquePart(dialect=NAME, value=each))
    return said


def source_of(fields: dict[str, Any]) -> Citation:
    extra = {name: fields[name] for name in ("type", "encrypted_index")}
    return Citation(url=fields["url"], title=fields["title"], cited_text=fields["cited_text"], extra=extra)


def blocks_of(told: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks that the events of a stream make."""
    blocks: dict[int, dict[str, Any]] = {}
    given: dict[int, str] = {}
    for event in told:
        match event:
            case {"type": "content_block_start", "index": index, "content_block": begins}:
                blocks[index], given[index] = begins, ""
            case {"delta": {"type": "input_json_delta", "partial_json": piece}, "index": index}:
                given[index] += piece
            case {"delta": {"type": "citations_delta", "citation": citation}, "index": index}:
                blocks[index].setdefault("citations", []).append(citation)
            case {"type": "content_block_delta", "delta": dict(delta), "index": index}:
                begun = blocks[index]
                begun |= {name: begun.get(name, "") + piece for name, piece in delta.items() if name != "type"}
    for index, pieces in given.items():
        if pieces:
            blocks[index]["input"] = json.loads(pieces)
    return list(blocks.values())


def comparable(folded: Folded) -> Alternative:
    """The one alternative, arguments in one way of writing, sources without where they stand in the text."""
    said = folded.only
    for index, call in said.calls.items():
        said.calls[index] = type(call)(id=call.id, name=call.name, arguments=json.dumps(json.loads(call.arguments)))
    said.citations = [
        Citation(
            url=citation.url,
            title=citation.title,
            cited_text=citation.cited_text,
            extra={
                name: value
                for name, value in (citation.extra or {}).items()
                if not name.endswith("_index") or name == "encrypted_index"
            },
        )
        for citation in said.citations
    ]
    return said


FINISHES = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
}


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.STREAMS)
def test_recorded_stream_is_read_without_loss(name: str) -> None:
    recording = recorded.load(name)
    told = recording.told()
    start, end = told[0]["message"], next(each for each in told if each["type"] == "message_delta")
    folded = fold(decode(recording.events))
    expected = read_plainly(blocks_of(told))
    expected.finishes = [(FINISHES[end["delta"]["stop_reason"]], end["delta"]["stop_sequence"])]
    assert comparable(folded) == expected
    assert [(each.id, each.model) for each in folded.starts] == [(start["id"], start["model"])]
    assert folded.usages == [usage_of({**start["usage"], **end["usage"]})]


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.WHOLE)
def test_recorded_answer_is_read_without_loss(name: str) -> None:
    body = recorded.load(name).body
    answer = json.loads(body)
    folded = fold(decode_answer(body))
    expected = read_plainly(answer["content"])
    expected.finishes = [(FINISHES[answer["stop_reason"]], answer["stop_sequence"])]
    assert comparable(folded) == expected
    assert [(each.id, each.model) for each in folded.starts] == [(answer["id"], answer["model"])]
    assert folded.usages == [usage_of(answer["usage"])]


def usage_of(usage: dict[str, Any]) -> Usage:
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    return Usage(
        input_tokens=usage["input_tokens"] + read + written,
        output_tokens=usage["output_tokens"],
        cached_input_tokens=read,
        cache_creation_tokens=written,
        reasoning_tokens=(usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
    )


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recorded.ERRORS)
def test_recorded_error_is_one(name: str) -> None:
    with pytest.raises(BadGatewayError, match=r"the upstream failed: ."):
        decode_answer(recorded.load(name).body)


def test_where_a_source_stands_in_the_text_is_told_in_characters() -> None:
    events = of_blocks(
        *block({"type": "text_delta", "text": "äb"}, type="text", index=0),
        *block(
            {"type": "citations_delta", "citation": CITATION}, {"type": "text_delta", "text": "c"}, type="text", index=1
        ),
    )
    (source,) = fold(events).only.citations
    assert source.extra is not None
    assert (source.extra["start_index"], source.extra["end_index"]) == (2, 3)


SAMPLE = b"".join(
    encode_event(json.dumps(event, ensure_ascii=False).encode(), event["type"])
    for event in [
        {"type": "message_start", "message": {"id": "m", "model": "x", "usage": {"input_tokens": 5}}},
        *block(
            {"type": "thinking_delta", "thinking": "hmm"},
            {"type": "signature_delta", "signature": "s"},
            type="thinking",
            index=0,
        ),
        *block({"type": "text_delta", "text": "größer"}, type="text", index=1),
        *block({"type": "input_json_delta", "partial_json": "{}"}, type="tool_use", id="t", name="f", index=2),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
)


@given(st.sets(st.integers(1, len(SAMPLE) - 1), max_size=6))
def test_any_way_to_cut_a_stream_gives_the_same_events(places: set[int]) -> None:
    parser = SseParser()
    pieces = [event for piece in cut(SAMPLE, places) for event in parser.feed(piece)]
    assert decode(pieces)[1:] == decode(SseParser().feed(SAMPLE))[1:]
