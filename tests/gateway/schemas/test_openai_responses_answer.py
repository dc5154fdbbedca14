"""Answers of OpenAI's responses: read leniently, and written in the order that clients rely on."""

import contextlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadGatewayError
from gateway.framing.sse import SseParser, encode_event
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.openai.responses_answer import AnswerDecoder
from gateway.schemas.openai.responses_encoder import ResponseEncoder, encode_answer
from gateway.schemas.openai.responses_request import decode_request
from gateway.schemas.openai.responses_wire import NAME
from gateway.schemas.table import OPENAI_RESPONSES
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    ContentPart,
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
    TextPart,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from tests.gateway.schemas.chat_event_strategies import answers, batches
from tests.gateway.schemas.folded_answers import Alternative, Folded, fold

SETTINGS = AnswerSettings(model="m")
STARTED = AnswerStarted(id="resp_1", model="m", created=7)
STOPPED = ChoiceFinished(choice=0, reason=FinishReason.STOP)


def stream_of(batches: Iterable[Iterable[ChatEvent]]) -> bytes:
    encoder = ResponseEncoder(SETTINGS)
    return b"".join(encoder.encode(batch) for batch in batches) + encoder.finish()


def sent(*events: ChatEvent) -> list[dict[str, Any]]:
    """What is streamed for events that come one by one."""
    told = list(SseParser().feed(stream_of([event] for event in (STARTED, *events))))
    assert all(json.loads(event.data)["type"] == event.event for event in told)
    return [json.loads(event.data) for event in told]


def kinds(told: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in told]


def decode_stream(stream: bytes) -> list[ChatEvent]:
    decoder = AnswerDecoder()
    return [each for event in SseParser().feed(stream) for each in decoder.decode(event)]


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(encode_event(json.dumps(event).encode()) for event in events)


def decode_whole(body: object) -> list[ChatEvent]:
    return list(AnswerDecoder().decode_whole(json.dumps(body).encode()))


def created(**fields: object) -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": "resp_1", "model": "m", "created_at": 7, **fields}}


def completed(**fields: object) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", **fields}}


# Order.


def test_text_is_begun_filled_and_ended() -> None:
    told = sent(TextDelta(choice=0, text="a"), TextDelta(choice=0, text="b"), STOPPED)
    assert kinds(told) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert told[0]["response"]["output"] == []
    assert told[0]["response"]["status"] == "in_progress"
    assert told[-1]["response"]["output"] == [told[-2]["item"]]
    places = {(event["item_id"], event["output_index"], event["content_index"]) for event in told[3:8]}
    assert places == {(told[2]["item"]["id"], 0, 0)}
    assert told[-2]["item"]["content"] == [told[-3]["part"]]
    assert told[-3]["part"]["text"] == told[-4]["text"] == "ab"


def test_thought_and_refusal_and_call_are_items_with_events_of_their_own() -> None:
    told = sent(
        ReasoningDelta(choice=0, text="hm"),
        ReasoningSigned(choice=0, signature="s"),
        TextDelta(choice=0, text="a"),
        RefusalDelta(choice=0, text="no"),
        ToolCallDelta(choice=0, index=0, id="c", name="f"),
        ToolCallDelta(choice=0, index=0, arguments="{}"),
        ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS),
    )
    assert kinds(told)[2:] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "content_part.added",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    output = told[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call"]
    assert output == [event["item"] for event in told if event["type"] == "response.output_item.done"]
    assert len({item["id"] for item in output}) == 3


def test_calls_by_turns_stay_open_beside_each_other() -> None:
    told = sent(
        ToolCallDelta(choice=0, index=0, id="a", name="f", arguments='{"x"'),
        ToolCallDelta(choice=0, index=1, id="b", name="g", arguments="{"),
        ToolCallDelta(choice=0, index=0, arguments=":1}"),
        ToolCallDelta(choice=0, index=1, arguments="}"),
        TextDelta(choice=0, text="so"),
        STOPPED,
    )
    items = told[-1]["response"]["output"]
    assert [item.get("arguments") for item in items] == ['{"x":1}', "{}", None]
    done = [event["output_index"] for event in told if event["type"] == "response.output_item.done"]
    assert done == [0, 1, 2]


def test_call_whose_name_comes_late_is_not_lost() -> None:
    told = sent(
        ToolCallDelta(choice=0, index=0, arguments='{"x":'),
        ToolCallDelta(choice=0, index=0, id="a", name="f", arguments="1}"),
        STOPPED,
    )
    (item,) = told[-1]["response"]["output"]
    assert (item["call_id"], item["name"], item["arguments"]) == ("a", "f", '{"x":1}')


def test_call_without_id_or_arguments_gets_both() -> None:
    told = sent(ToolCallDelta(choice=0, index=0, name="f"), ToolCallDelta(choice=0, index=1, name="f"), STOPPED)
    items = told[-1]["response"]["output"]
    assert [item["arguments"] for item in items] == ["{}", "{}"]
    assert len({item["call_id"] for item in items}) == 2


def test_text_and_its_probabilities_are_one_event() -> None:
    token = TokenLogprob(token="a", logprob=-0.5, bytes=b"a", top=(TokenLogprob(token="b", logprob=-2.0),))
    encoder = ResponseEncoder(SETTINGS)
    out = encoder.encode([STARTED, TextDelta(choice=0, text="a"), LogprobsDelta(choice=0, tokens=(token,))])
    deltas = [json.loads(event.data) for event in SseParser().feed(out) if event.event.endswith("text.delta")]
    assert [(event["delta"], len(event["logprobs"])) for event in deltas] == [("a", 1)]
    assert fold(decode_stream(out + encoder.finish())).only.logprobs == [token]


def test_source_without_a_place_stands_at_the_end_of_the_text() -> None:
    told = sent(
        TextDelta(choice=0, text="abc"), CitationAdded(choice=0, citation=Citation(url="https://x", title="t")), STOPPED
    )
    (event,) = [event for event in told if event["type"] == "response.output_text.annotation.added"]
    assert event["annotation"] == {
        "type": "url_citation",
        "url": "https://x",
        "title": "t",
        "start_index": 3,
        "end_index": 3,
    }


@pytest.mark.parametrize(
    ("reason", "kind", "details"),
    [
        (FinishReason.STOP, "completed", None),
        (FinishReason.TOOL_CALLS, "completed", None),
        (None, "completed", None),
        (FinishReason.LENGTH, "incomplete", {"reason": "max_output_tokens"}),
        (FinishReason.CONTENT_FILTER, "incomplete", {"reason": "content_filter"}),
    ],
)
def test_end_of_an_answer(reason: FinishReason | None, kind: str, details: object) -> None:
    told = sent(TextDelta(choice=0, text="a"), ChoiceFinished(choice=0, reason=reason))
    assert told[-1]["type"] == f"response.{kind}"
    response = told[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == (kind, details)
    assert response["output"][0]["status"] == kind


@pytest.mark.parametrize("is_late", [False, True])
def test_usage_stands_in_the_last_event_whenever_it_came(is_late: bool) -> None:
    usage = UsageReported(
        usage=Usage(input_tokens=9, output_tokens=5, cached_input_tokens=2, cache_creation_tokens=1, reasoning_tokens=3)
    )
    told = sent(STOPPED, usage) if is_late else sent(usage, STOPPED)
    assert told[-1]["response"]["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 14,
    }


def test_answer_that_never_began_still_has_a_beginning_and_an_end() -> None:
    told = [json.loads(event.data) for event in SseParser().feed(stream_of([]))]
    assert kinds(told) == ["created", "in_progress", "completed"]
    assert told[0]["response"]["id"] == told[-1]["response"]["id"] != ""


def test_the_same_answer_is_always_written_the_same() -> None:
    events: list[list[ChatEvent]] = [
        [STARTED, TextDelta(choice=0, text="a"), ToolCallDelta(choice=0, index=0, name="f"), STOPPED]
    ]
    assert stream_of(events) == stream_of(events)


# Thoughts of other backends, through a client that speaks this dialect.


def replayed(*events: ChatEvent) -> list[ContentPart]:
    """What comes back with the next turn from a client that sends the output as it was."""
    streamed = sent(*events, STOPPED)[-1]["response"]["output"]
    assert json.loads(encode_answer([STARTED, *events, STOPPED], SETTINGS))["output"] == streamed
    body = json.dumps({"input": [{"role": "user", "content": "hi"}, *streamed]}).encode()
    return [part for message in decode_request(body, "m").messages[1:] for part in message.content]


def test_signatures_and_hidden_thoughts_come_back_with_the_next_turn() -> None:
    assert replayed(
        ReasoningDelta(choice=0, text="hm"),
        ReasoningSigned(choice=0, signature="EqQB=="),
        ReasoningRedacted(choice=0, data="Emw="),
        ReasoningSigned(choice=0, signature="alone"),
        ReasoningDelta(choice=0, text="plain"),
        TextDelta(choice=0, text="a"),
        ToolCallDelta(choice=0, index=0, id="c:1", name="f", arguments="{}", signature="Cg:=="),
    ) == [
        ReasoningPart(text="hm", signature="EqQB=="),
        ReasoningPart(redacted="Emw="),
        ReasoningPart(signature="alone"),
        ReasoningPart(text="plain"),
        TextPart(text="a"),
        ToolCall(id="c:1", name="f", arguments="{}", signature="Cg:=="),
    ]


def test_signature_that_comes_after_its_call_comes_back_too() -> None:
    (call,) = replayed(
        ToolCallDelta(choice=0, index=0, id="c", name="f", arguments="{}"),
        ToolCallDelta(choice=0, index=0, signature="late"),
    )
    assert call == ToolCall(id="c", name="f", arguments="{}", signature="late")


def test_thought_of_openai_is_the_same_after_any_way_through_the_canonical_form() -> None:
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAAA-_=="}
    text = {**item, "id": "rs_2", "summary": [{"type": "summary_text", "text": "hm"}]}
    events = decode_whole({"status": "completed", "output": [item, text]})
    again = json.loads(encode_answer(events, SETTINGS))["output"]
    assert again[0] == item
    body = json.dumps({"input": [{"role": "user", "content": "hi"}, *again]}).encode()
    request = decode_request(body, "m")
    sent_back = json.loads(OPENAI_RESPONSES.encode_request(request, "m", stream=False, drop_unsupported=False))
    assert sent_back["input"][1:] == [item, text]


# Reading.


def test_thoughts_are_read_from_either_kind_of_text_once() -> None:
    for kinds_of in (
        ["response.reasoning_text.delta"],
        ["response.reasoning_text.delta", "response.reasoning_summary_text.delta"],
    ):
        told = decode_stream(
            stream(
                created(),
                {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs"}},
                *({"type": kind, "output_index": 0, "delta": "hm"} for kind in kinds_of),
                {
                    "type": "response.output_item.done",
                    "output_index": 0,
                    "item": {
                        "type": "reasoning",
                        "id": "rs",
                        "content": [{"type": "reasoning_text", "text": "hm"}],
                        "summary": [{"type": "summary_text", "text": "hm"}],
                    },
                },
                completed(),
            )
        )
        assert [thought.text for thought in fold(told).only.thoughts] == ["hm"]


def test_parts_of_a_summary_are_paragraphs() -> None:
    added = {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs"}}
    told = decode_stream(
        stream(
            created(),
            added,
            {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "a"},
            {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 1, "delta": "b"},
            {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 1, "delta": "c"},
            completed(),
        )
    )
    parts = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "bc"}]
    whole = decode_whole({"output": [{"type": "reasoning", "id": "rs", "summary": parts}]})
    assert [fold(events).only.thoughts for events in (told, whole)] == [[ReasoningPart(text="a\n\nbc")]] * 2


OUTPUT: list[dict[str, Any]] = [
    {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]},
    {
        "type": "message",
        "role": "assistant",
        "content": [
            {
                "type": "output_text",
                "text": "a",
                "annotations": [{"type": "url_citation", "url": "u"}],
                "logprobs": None,
            },
            {"type": "refusal", "refusal": "no"},
        ],
    },
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "image_generation_call", "id": "ig", "result": "eA=="},
]


@pytest.mark.parametrize(
    "told",
    [
        [completed(output=OUTPUT)],
        [created(), completed(output=OUTPUT)],
        [
            created(),
            *(
                {"type": "response.output_item.done", "output_index": at, "item": item}
                for at, item in enumerate(OUTPUT)
            ),
            completed(output=OUTPUT),
        ],
        [
            created(),
            {"type": "response.output_item.added", "output_index": 2, "item": {**OUTPUT[2], "arguments": ""}},
            {"type": "response.web_search_call.searching", "output_index": 9},
            completed(output=OUTPUT),
        ],
    ],
)
def test_what_a_stream_left_out_is_taken_from_the_items(told: list[dict[str, Any]]) -> None:
    choice = fold(decode_stream(stream(*told))).only
    assert choice == Alternative(
        text="a",
        refusal="no",
        thoughts=[ReasoningPart(text="hm")],
        calls={0: ToolCall(id="c", name="f", arguments="{}")},
        citations=[Citation(url="u")],
        opaque=[OpaquePart(dialect=NAME, value=OUTPUT[3])],
        finishes=[(FinishReason.TOOL_CALLS, None)],
    )


def test_items_that_a_server_numbers_otherwise_in_its_stream_are_not_told_twice() -> None:
    item = {"type": "message", "id": "msg", "content": [{"type": "output_text", "text": "a"}]}
    told = decode_stream(
        stream(
            created(),
            {"type": "response.output_item.added", "output_index": 7, "item": {"type": "message", "id": "msg"}},
            {"type": "response.output_text.delta", "output_index": 7, "item_id": "msg", "delta": "a"},
            {"type": "response.output_item.done", "output_index": 7, "item": item},
            completed(output=[item]),
        )
    )
    assert fold(told).only.text == "a"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "completed"}, FinishReason.STOP),
        ({"status": None, "output": []}, FinishReason.STOP),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, FinishReason.LENGTH),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, FinishReason.CONTENT_FILTER),
        ({"status": "incomplete", "incomplete_details": {"reason": "new"}}, None),
        ({"status": "incomplete", "incomplete_details": None}, None),
        ({"status": "in_progress"}, None),
    ],
)
def test_reason_of_the_end(fields: dict[str, Any], reason: FinishReason | None) -> None:
    assert fold(decode_whole(fields)).only.finishes == [(reason, None)]


@pytest.mark.parametrize(
    "told",
    [
        {"type": "error", "code": "server_error", "message": "boom", "param": None},
        {"type": "error", "error": {"message": "boom"}},
        {"error": {"message": "boom"}},
        {"type": "response.failed", "response": {"status": "failed", "error": {"code": "x", "message": "boom"}}},
    ],
)
def test_error_within_a_stream(told: dict[str, Any]) -> None:
    with pytest.raises(BadGatewayError, match="boom") as caught:
        decode_stream(stream(created(), told))
    assert caught.value.reason == "UPSTREAM_FAILED"


def test_error_event_that_only_its_name_tells() -> None:
    with pytest.raises(BadGatewayError, match="boom"):
        decode_stream(encode_event(b'{"message":"boom"}', "error"))


@pytest.mark.parametrize(
    "body", [{"status": "failed", "error": {"message": "no"}}, {"status": "cancelled"}, {"error": {"message": "no"}}]
)
def test_answer_that_failed(body: object) -> None:
    with pytest.raises(BadGatewayError) as caught:
        decode_whole(body)
    assert caught.value.reason == "UPSTREAM_FAILED"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"<html>", b'{"output":{}}', b'{"output":[5]}', b"\xff"])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadGatewayError) as caught:
        AnswerDecoder().decode_whole(body)
    assert caught.value.reason == "UPSTREAM_MALFORMED"


def test_server_with_the_other_end_mark() -> None:
    told = decode_stream(stream(created(), completed(output=[])) + b"data: [DONE]\n\n")
    assert fold(told).only.finishes == [(FinishReason.STOP, None)]


# Laws.


def expected(events: Iterable[ChatEvent]) -> Folded:
    """What this dialect has of an answer: one alternative."""
    return fold(event for event in events if getattr(event, "choice", 0) == 0)


def assert_same(found: Folded, wanted: Folded) -> None:
    assert [(start.id, start.created) for start in found.starts] == [
        (start.id, start.created) for start in wanted.starts
    ]
    assert found.usages == wanted.usages
    choice, only = found.only, wanted.only
    assert (choice.text, choice.refusal, choice.thoughts) == (only.text, only.refusal, only.thoughts)
    assert [call for _, call in sorted(choice.calls.items())] == [only.calls[index] for index in only.calls]
    assert [(each.url, each.title) for each in choice.citations] == [(each.url, each.title) for each in only.citations]
    assert choice.opaque == [part for part in only.opaque if part.dialect == NAME]
    assert choice.logprobs == only.logprobs
    ((reason, _),) = only.finishes
    if reason in (FinishReason.LENGTH, FinishReason.CONTENT_FILTER):
        assert choice.finishes == [(reason, None)]
    else:
        assert choice.finishes == [(FinishReason.TOOL_CALLS if only.calls else FinishReason.STOP, None)]


@given(st.data())
def test_any_answer_means_the_same_after_writing_and_reading(data: st.DataObject) -> None:
    events = data.draw(answers(choices=2, opaque_of=(NAME, "other")))
    wanted = expected(events)
    assert_same(fold(decode_stream(stream_of(data.draw(batches(events))))), wanted)
    assert_same(fold(AnswerDecoder().decode_whole(encode_answer(events, SETTINGS))), wanted)


@given(st.data())
def test_every_stream_is_well_formed(data: st.DataObject) -> None:
    events = data.draw(answers(opaque_of=(NAME,)))
    told = [json.loads(event.data) for event in SseParser().feed(stream_of(data.draw(batches(events))))]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    open_items: dict[int, Any] = {}
    done: dict[int, Any] = {}
    for event in told[2:-1]:
        at = event["output_index"]
        match event["type"]:
            case "response.output_item.added":
                assert at == len(open_items) + len(done)
                open_items[at] = event["item"]
            case "response.output_item.done":
                done[at] = event["item"]
                assert open_items.pop(at)["id" if "id" in event["item"] else "type"] in event["item"].values()
            case _:
                assert open_items[at]["id"] == event["item_id"]
    assert not open_items
    assert told[-1]["response"]["output"] == [done[at] for at in sorted(done)]


@given(st.data())
def test_any_cut_of_a_stream_gives_the_same_events(data: st.DataObject) -> None:
    whole = stream_of([data.draw(answers())])
    parser, decoder = SseParser(), AnswerDecoder()
    borders = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[start:end] for start, end in zip([0, *borders], [*borders, len(whole)], strict=True)]
    events = [each for piece in pieces for event in parser.feed(piece) for each in decoder.decode(event)]
    assert events == decode_stream(whole)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "item",
                    "response",
                    "output",
                    "content",
                    "text",
                    "delta",
                    "summary",
                    "status",
                    "usage",
                    "error",
                    "id",
                    "arguments",
                    "annotations",
                    "logprobs",
                    "encrypted_content",
                    "incomplete_details",
                    "created_at",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
TYPES = st.sampled_from(
    [
        "response.created",
        "response.completed",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.delta",
        "response.function_call_arguments.delta",
        "response.reasoning_text.delta",
        "error",
        "response.output_text.annotation.added",
        "message",
        "reasoning",
        "function_call",
        "x",
    ]
)
GARBAGE = JSON | st.fixed_dictionaries(
    {"type": TYPES},
    optional={
        "item": st.fixed_dictionaries(
            {"type": TYPES},
            optional={"content": JSON, "summary": JSON, "arguments": JSON, "call_id": JSON, "encrypted_content": JSON},
        ),
        "response": JSON,
        "delta": JSON,
        "output_index": JSON,
        "logprobs": JSON,
        "annotation": JSON,
    },
)


@given(st.lists(GARBAGE.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20), max_size=4))
def test_garbage_raises_only_what_is_named(pieces: list[bytes]) -> None:
    decoder = AnswerDecoder()
    for piece in pieces:
        for event in SseParser().feed(encode_event(piece)):
            with contextlib.suppress(BadGatewayError):
                ResponseEncoder(SETTINGS).encode(decoder.decode(event))
        with contextlib.suppress(BadGatewayError):
            AnswerDecoder().decode_whole(piece)


def test_opaque_piece_of_this_dialect_is_an_item_as_it_was() -> None:
    item = {"type": "web_search_call", "id": "ws", "status": "completed"}
    told = sent(OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value=item)), STOPPED)
    assert kinds(told)[2:4] == ["output_item.added", "output_item.done"]
    assert told[-1]["response"]["output"] == [item]


def test_only_the_first_alternative_has_a_place() -> None:
    told = sent(
        TextDelta(choice=1, text="x"), TextDelta(choice=0, text="a"), ChoiceFinished(choice=1, reason=None), STOPPED
    )
    (item,) = told[-1]["response"]["output"]
    assert item["content"][0]["text"] == "a"
