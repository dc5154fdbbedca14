"""Answers in another dialect: whatever the reads cut them into, nothing is held back, lost or ended well in vain."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.context import RequestContext
from gateway.edits import AnswerEdits
from gateway.errors import BadGatewayError
from gateway.framing.sse import MAX_EVENT_BYTES
from gateway.listeners.translation import TranslatedEvents, translated_answer, usage_of
from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.schemas.table import ANTHROPIC_MESSAGES, GEMINI, OLLAMA_CHAT, OPENAI_CHAT
from gateway.types import (
    ChatEvent,
    Operation,
    ReasoningDelta,
    ReasoningSigned,
    TextDelta,
    Usage,
    UsageReported,
)
from tests.support import scripts
from tests.support.http_wire import sse
from tests.support.pieces import cut

DIALECTS = (OPENAI_CHAT, ANTHROPIC_MESSAGES, GEMINI, OLLAMA_CHAT)
SETTINGS = AnswerSettings(model="asked")
EVENTS = sse(*scripts.chat_events("hello there", model="upstream", usage=True))
OF_ERROR = sse({"error": {"message": "the model crashed"}}, done=False)

dialects = pytest.mark.parametrize("target", DIALECTS, ids=lambda dialect: dialect.name)


def context() -> RequestContext:
    return RequestContext(
        request_id="r",
        protocol="http",
        operation=Operation.CHAT,
        method="POST",
        path="/",
        host="",
        query_string=b"",
        headers={},
        model="asked",
        is_streaming=True,
        client_address="",
        started=0.0,
    )


def relay(target: ChatDialect, asked: RequestContext | None = None) -> TranslatedEvents:
    return TranslatedEvents(OPENAI_CHAT, target, SETTINGS, asked or context())


def text_of(dialect: ChatDialect, data: bytes) -> str:
    """The text in a stream of that dialect."""
    parser, decoder = dialect.framing.parser(), dialect.event_decoder()
    events = [event for each in parser.feed(data) for event in decoder.decode(each)]
    assert parser.pending == b""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@dialects
@given(cuts=st.lists(st.integers(0, 1200), max_size=20))
def test_stream_says_the_same_however_it_is_cut(target: ChatDialect, cuts: Sequence[int]) -> None:
    asked = context()
    translated = relay(target, asked)
    sent = b"".join(translated.feed(piece) for piece in cut(b"".join(EVENTS), cuts)) + translated.finish()
    assert text_of(target, sent) == "hello there"
    assert target.is_complete(sent)
    assert target.read_stream_usage(sent) == asked.usage == Usage(input_tokens=1, output_tokens=2)


@dialects
def test_nothing_waits_for_more(target: ChatDialect) -> None:
    translated = relay(target)
    sent = [translated.feed(event) for event in EVENTS[:3]]
    assert "hello" in text_of(target, sent[0] + sent[1])
    assert "there" in text_of(target, b"".join(sent))


@dialects
def test_what_came_before_an_error_in_the_same_read_is_sent(target: ChatDialect) -> None:
    translated = relay(target)
    sent = translated.feed(b"".join([*EVENTS[:3], *OF_ERROR]))
    assert text_of(target, sent) == "hello there"
    assert translated.failure is not None
    assert "the model crashed" in translated.failure.message
    assert not target.is_complete(sent)


def test_stream_without_a_fault_has_no_failure() -> None:
    translated = relay(GEMINI)
    translated.feed(b"".join(EVENTS))
    assert translated.failure is None


@dialects
def test_last_event_whose_end_is_missing_counts(target: ChatDialect) -> None:
    without_done = b"".join(EVENTS[:-1])
    translated = relay(target)
    sent = translated.feed(without_done.removesuffix(b"\n\n")) + translated.finish()
    assert target.read_stream_usage(sent) == Usage(input_tokens=1, output_tokens=2)


def test_last_line_whose_end_is_missing_counts() -> None:
    line = json.dumps({"model": "u", "message": {"role": "assistant", "content": "hello"}, "done": True}).encode()
    translated = TranslatedEvents(OLLAMA_CHAT, OPENAI_CHAT, SETTINGS, context())
    assert translated.feed(line) == b""
    sent = translated.finish()
    assert text_of(OPENAI_CHAT, sent) == "hello"
    assert OPENAI_CHAT.is_complete(sent)


def test_error_in_the_last_event_whose_end_is_missing_is_no_good_end() -> None:
    translated = relay(ANTHROPIC_MESSAGES)
    translated.feed(b"".join([*EVENTS[:2], *OF_ERROR]).removesuffix(b"\n\n"))
    with pytest.raises(BadGatewayError, match="the model crashed"):
        translated.finish()


def test_event_without_end_is_an_error_of_the_upstream() -> None:
    translated = relay(ANTHROPIC_MESSAGES)
    translated.feed(b"x" * MAX_EVENT_BYTES)
    translated.feed(b"x")
    assert translated.failure is not None
    assert translated.failure.reason == "UPSTREAM_EVENT_TOO_LARGE"


@dialects
@pytest.mark.parametrize("is_streaming", [False, True], ids=["whole", "stream"])
def test_whole_answer_as_it_was_asked_for(target: ChatDialect, is_streaming: bool) -> None:
    events = OPENAI_CHAT.decode_answer(json.dumps(scripts.chat_completion("hello there", model="upstream")).encode())
    translated = translated_answer(events, target, SETTINGS, is_streaming=is_streaming)
    assert usage_of(events) == Usage(input_tokens=1, output_tokens=2)
    if is_streaming:
        assert text_of(target, translated) == "hello there"
        assert target.is_complete(translated)
    else:
        said = target.decode_answer(translated)
        assert "".join(event.text for event in said if isinstance(event, TextDelta)) == "hello there"
        assert b"upstream" not in translated


def test_last_usage_counts() -> None:
    first, last = Usage(input_tokens=1), Usage(input_tokens=1, output_tokens=2)
    assert usage_of([UsageReported(usage=first), UsageReported(usage=last)]) == last
    assert usage_of([]) is None


class Shouting:
    """An editor that holds each text until something else comes."""

    def __init__(self, is_whole: bool) -> None:
        self._held: list[ChatEvent] = []

    def edit(self, event: ChatEvent) -> Sequence[ChatEvent]:
        out, self._held = self._held, []
        if not isinstance(event, TextDelta):
            return [*out, event]
        self._held = [TextDelta(choice=event.choice, text=event.text.upper())]
        return out

    def finish(self) -> Sequence[ChatEvent]:
        return self._held


@dialects
def test_what_policies_change_is_changed_on_the_way_and_nothing_is_lost(target: ChatDialect) -> None:
    asked = context()
    asked.answer_edits = AnswerEdits(events=(Shouting,))
    translated = relay(target, asked)
    sent = translated.feed(b"".join(EVENTS)) + translated.finish()
    assert text_of(target, sent) == "HELLO THERE"
    assert asked.usage == Usage(input_tokens=1, output_tokens=2)


def test_signatures_stay_as_they_are_on_the_way_to_the_same_dialect() -> None:
    signed: list[ChatEvent] = [ReasoningDelta(choice=0, text="hm"), ReasoningSigned(choice=0, signature="c2ln")]
    sent = translated_answer(signed, ANTHROPIC_MESSAGES, SETTINGS, is_streaming=True)
    for target, is_kept in ((ANTHROPIC_MESSAGES, True), (OPENAI_CHAT, False)):
        translated = TranslatedEvents(ANTHROPIC_MESSAGES, target, SETTINGS, context())
        assert (b'"c2ln"' in translated.feed(sent) + translated.finish()) is is_kept
