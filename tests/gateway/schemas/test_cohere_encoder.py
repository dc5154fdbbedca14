"""Canonical events to answers of Cohere's `/v2/chat`: well formed in any order, and read back as they were."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.framing.sse import SseParser
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.cohere.chat import CohereChat
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FinishReason,
    LogprobsDelta,
    ReasoningDelta,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from tests.gateway.schemas.chat_event_strategies import answers, batches
from tests.gateway.schemas.folded_answers import Alternative, Folded, fold

CHAT = CohereChat()
SETTINGS = AnswerSettings(model="asked")
STARTED = AnswerStarted(id="a", model="m", created=1)
END = ChoiceFinished(choice=0, reason=FinishReason.STOP)


def stream(groups: Iterable[Sequence[ChatEvent]]) -> bytes:
    encoder = CHAT.event_encoder(SETTINGS)
    return b"".join(encoder.encode(group) for group in groups) + encoder.finish()


def told(data: bytes) -> list[Any]:
    """The events of a stream as JSON; each is named as its type says, and the last line ends them."""
    events = list(SseParser().feed(data))
    assert events.pop().data == b"[DONE]"
    found = [json.loads(event.data) for event in events]
    assert [event.event for event in events] == [each["type"] for each in found]
    return found


def whole(events: Iterable[ChatEvent]) -> Any:
    return json.loads(CHAT.encode_answer(events, SETTINGS))


def read_back(data: bytes) -> Folded:
    decoder = CHAT.event_decoder()
    return fold(found for event in SseParser().feed(data) for found in decoder.decode(event))


def test_stream_of_text() -> None:
    usage = UsageReported(usage=Usage(input_tokens=3, output_tokens=4, cached_input_tokens=1))
    found = told(stream([[STARTED], [TextDelta(choice=0, text="a")], [TextDelta(choice=0, text="b")], [END], [usage]]))
    assert [each["type"] for each in found] == [
        "message-start",
        "content-start",
        "content-delta",
        "content-delta",
        "content-end",
        "message-end",
    ]
    assert found[0]["id"] == "a"
    assert found[1] == {
        "type": "content-start",
        "index": 0,
        "delta": {"message": {"content": {"type": "text", "text": ""}}},
    }
    counts = {"input_tokens": 3, "output_tokens": 4}
    assert found[-1] == {
        "type": "message-end",
        "id": "a",
        "delta": {"finish_reason": "COMPLETE", "usage": {"billed_units": counts, "tokens": counts, "cached_tokens": 1}},
    }


def test_deltas_are_sent_at_once() -> None:
    encoder = CHAT.event_encoder(SETTINGS)
    assert b"message-start" in encoder.encode([STARTED])
    assert b'"text":"a"' in encoder.encode([TextDelta(choice=0, text="a")])
    assert b'"name":"f"' in encoder.encode([ToolCallDelta(choice=0, index=0, id="c", name="f")])
    assert b'"arguments":"{"' in encoder.encode([ToolCallDelta(choice=0, index=0, arguments="{")])


def test_thoughts_and_text_are_kept_apart_with_their_signatures() -> None:
    events: list[ChatEvent] = [
        ReasoningDelta(choice=0, text="hm"),
        ReasoningSigned(choice=0, signature="s"),
        TextDelta(choice=0, text="a"),
        ToolCallDelta(choice=0, index=0, id="c", name="f", arguments="{}", signature="t"),
        END,
    ]
    assert whole(events)["message"] == {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "a"}],
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "signature": "t"}],
    }
    request = {"model": "m", "messages": [whole(events)["message"]]}
    parts = CHAT.decode_request(json.dumps(request).encode(), "m").messages[0].content
    assert [getattr(part, "signature", None) for part in parts] == ["s", None, "t"]


def test_a_source_of_another_backend_is_of_the_words_before_it() -> None:
    events: list[ChatEvent] = [
        TextDelta(choice=0, text="one. "),
        CitationAdded(choice=0, citation=Citation(url="https://a", title="A", cited_text="x")),
        CitationAdded(choice=0, citation=Citation(url="https://b", title="B")),
        TextDelta(choice=0, text="two."),
        CitationAdded(choice=0, citation=Citation(url="https://c", extra={"start_index": 5, "end_index": 8})),
        END,
    ]
    citations = whole(events)["message"]["citations"]
    assert [(each["start"], each["end"], each["text"], len(each["sources"])) for each in citations] == [
        (0, 5, "one. ", 2),
        (5, 8, "two", 1),
    ]
    assert citations[0]["sources"][0] == {
        "type": "document",
        "id": "https://a",
        "document": {"id": "https://a", "title": "A", "url": "https://a", "snippet": "x"},
    }
    streamed = [each for each in told(stream([events])) if each["type"] == "citation-start"]
    assert [each["delta"]["message"]["citations"]["text"] for each in streamed] == ["one. ", "one. ", "two"]
    assert [each["index"] for each in streamed] == [0, 1, 2]


@pytest.mark.parametrize(
    ("finished", "word"),
    [
        (ChoiceFinished(choice=0, reason=FinishReason.STOP), "COMPLETE"),
        (ChoiceFinished(choice=0, reason=FinishReason.STOP, stop_sequence="x"), "STOP_SEQUENCE"),
        (ChoiceFinished(choice=0, reason=FinishReason.LENGTH), "MAX_TOKENS"),
        (ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS), "TOOL_CALL"),
        (ChoiceFinished(choice=0, reason=FinishReason.CONTENT_FILTER), "ERROR_TOXIC"),
        (ChoiceFinished(choice=0, reason=None), "COMPLETE"),
    ],
)
def test_reason_to_finish(finished: ChoiceFinished, word: str) -> None:
    assert whole([STARTED, finished])["finish_reason"] == word
    assert told(stream([[STARTED, finished]]))[-1]["delta"]["finish_reason"] == word


def test_a_plain_stop_with_calls_is_named_for_them() -> None:
    call = ToolCallDelta(choice=0, index=0, id="c", name="f", arguments="{}")
    assert whole([call, END])["finish_reason"] == "TOOL_CALL"


def test_refusal_is_text_and_other_alternatives_are_left_out() -> None:
    events: list[ChatEvent] = [RefusalDelta(choice=0, text="no"), TextDelta(choice=1, text="x"), END]
    assert whole(events)["message"]["content"] == [{"type": "text", "text": "no"}]


def test_logprobs() -> None:
    token = TokenLogprob(token="a", logprob=-0.5, bytes=b"a")
    events: list[ChatEvent] = [TextDelta(choice=0, text="a"), LogprobsDelta(choice=0, tokens=(token,)), END]
    assert whole(events)["logprobs"] == [{"text": "a", "token_ids": [], "logprobs": [-0.5]}]
    assert read_back(stream([events])).only.logprobs == [token]


def test_an_answer_without_anything_is_well_formed() -> None:
    assert whole([])["message"] == {"role": "assistant"}
    assert [each["type"] for each in told(stream([]))] == ["message-start", "message-end"]


def assert_well_formed(found: list[Any]) -> None:
    """One start, one end, blocks one after another, calls begun before they go on and ended once."""
    kinds = [each["type"] for each in found]
    assert (kinds[0], kinds[-1]) == ("message-start", "message-end")
    assert kinds.count("message-start") == kinds.count("message-end") == 1
    block: int | None = None
    blocks = 0
    calls: dict[int, bool] = {}
    for each in found:
        match each["type"]:
            case "content-start":
                assert block is None
                assert each["index"] == blocks
                block, blocks = blocks, blocks + 1
                kind = each["delta"]["message"]["content"]["type"]
            case "content-delta":
                assert each["index"] == block
                assert kind in each["delta"]["message"]["content"]
            case "content-end":
                assert each["index"] == block
                block = None
            case "tool-call-start":
                assert block is None
                assert each["index"] not in calls
                calls[each["index"]] = True
            case "tool-call-delta":
                assert calls[each["index"]]
            case "tool-call-end":
                assert calls[each["index"]]
                calls[each["index"]] = False
    assert block is None
    assert not any(calls.values())


def expected(events: Sequence[ChatEvent]) -> Alternative:
    """What of an answer this API can say: a refusal is text; what ends calls is named for them."""
    said: list[ChatEvent] = []
    for event in events:
        if isinstance(event, AnswerStarted | UsageReported) or event.choice != 0:
            continue
        said.append(TextDelta(choice=0, text=event.text) if isinstance(event, RefusalDelta) else event)
    only = fold(said).only
    ((reason, sequence),) = only.finishes
    if reason in (None, FinishReason.STOP):
        reason = FinishReason.TOOL_CALLS if only.calls else FinishReason.STOP
    only.finishes = [(reason, sequence)]
    only.opaque = []
    only.citations = [replace(citation, extra=None) for citation in only.citations]
    return only


def without_places(only: Alternative) -> Alternative:
    """The same without where its sources belong, and its calls numbered by their ids, not as they began."""
    only.citations = [replace(citation, extra=None) for citation in only.citations]
    only.logprobs = [replace(token, bytes=b"") for token in only.logprobs]
    only.calls = dict(enumerate(sorted(only.calls.values(), key=lambda call: call.id)))
    return only


@given(st.data())
def test_any_stream_is_well_formed_and_read_back(data: st.DataObject) -> None:
    events = data.draw(answers(choices=2, opaque_of=["gemini"]))
    written = stream(data.draw(batches(events)))
    assert_well_formed(told(written))
    folded = read_back(written)
    assert without_places(folded.only) == without_places(expected(events))
    usages = [event.usage for event in events if isinstance(event, UsageReported)]
    assert folded.usages == [_as_told(usage) for usage in usages or [Usage()]]


@given(answers(choices=2, opaque_of=["gemini"]))
def test_any_whole_answer_is_read_back(events: list[ChatEvent]) -> None:
    folded = fold(CHAT.decode_answer(CHAT.encode_answer(events, SETTINGS)))
    assert without_places(folded.only) == without_places(expected(events))


def _as_told(usage: Usage) -> Usage:
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
    )
