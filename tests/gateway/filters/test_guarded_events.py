"""Answers under rules: every text by itself, in its order, with nothing else lost."""

import json
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.guardrail import GuardrailAction, PersonalData
from gateway.errors import GuardrailDeniedError
from gateway.filters.guarded_events import GuardedEvents
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
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from tests.gateway.filters.guarding import Counted, data_rule
from tests.gateway.schemas.chat_event_strategies import answers

STARTED = AnswerStarted(id="a", model="m", created=1)
STOP = ChoiceFinished(choice=0, reason=FinishReason.STOP)
USED = UsageReported(usage=Usage(input_tokens=1, output_tokens=2))


def guarded(events: Iterable[ChatEvent], *, is_whole: bool = False) -> Sequence[ChatEvent]:
    editor = GuardedEvents(Counted(data_rule(PersonalData.EMAIL)).rules, is_whole=is_whole)
    return [*(edited for event in events for edited in editor.edit(event)), *editor.finish()]


def text(value: str, choice: int = 0) -> TextDelta:
    return TextDelta(choice=choice, text=value)


def tokens(*texts: str) -> LogprobsDelta:
    return LogprobsDelta(choice=0, tokens=tuple(TokenLogprob(token=each, logprob=-1.0) for each in texts))


@pytest.mark.parametrize("is_whole", [False, True])
def test_texts_of_alternatives_are_apart(is_whole: bool) -> None:
    events: list[ChatEvent] = [
        STARTED,
        text("ann@exa", 0),
        text("bob@exa", 1),
        text("mple.com", 0),
        text("mple.com", 1),
        STOP,
        USED,
    ]
    assert guarded(events, is_whole=is_whole) == [
        STARTED,
        text("[EMAIL]", 0),
        STOP,
        USED,
        text("[EMAIL]", 1),
    ]


def test_kinds_of_text_do_not_run_into_each_other() -> None:
    events: list[ChatEvent] = [
        ReasoningDelta(choice=0, text="ann@exa"),
        text("mple.com"),
        RefusalDelta(choice=0, text="no"),
        STOP,
    ]
    assert guarded(events) == events


def test_arguments_of_calls_that_come_in_turns() -> None:
    def call(index: int, arguments: str, name: str = "") -> ToolCallDelta:
        return ToolCallDelta(choice=0, index=index, id=name, name=name, arguments=arguments)

    events: list[ChatEvent] = [
        call(0, '{"to":"ann@', "f"),
        call(1, '{"to":"bob@', "g"),
        call(0, 'a.com"}'),
        call(1, 'b.com"}'),
        STOP,
    ]
    assert guarded(events) == [
        call(0, "", "f"),
        call(1, "", "g"),
        call(0, '{"to":"[EMAIL]"}'),
        call(1, '{"to":"[EMAIL]"}'),
        STOP,
    ]


def test_thought_that_was_changed_is_no_longer_signed() -> None:
    signed = ReasoningSigned(choice=0, signature="s")
    assert guarded([ReasoningDelta(choice=0, text="ann@a.com"), signed]) == [ReasoningDelta(choice=0, text="[EMAIL]")]
    kept: list[ChatEvent] = [ReasoningDelta(choice=0, text="hm"), signed]
    assert guarded(kept) == kept


def test_sources_and_what_only_a_dialect_has_are_looked_into() -> None:
    cited = CitationAdded(choice=0, citation=Citation(url="https://a/ann@a.com", cited_text="ann@a.com"))
    opaque = OpaqueAdded(choice=0, part=OpaquePart(dialect="d", value={"a": ["ann@a.com", 1]}))
    assert guarded([cited, opaque]) == [
        CitationAdded(choice=0, citation=Citation(url="https://a/ann@a.com", cited_text="[EMAIL]")),
        OpaqueAdded(choice=0, part=OpaquePart(dialect="d", value={"a": ["[EMAIL]", 1]})),
    ]


@pytest.mark.parametrize("is_whole", [False, True])
def test_tokens_of_what_is_masked_are_left_out(is_whole: bool) -> None:
    events: list[ChatEvent] = [
        text("to "),
        tokens("to", " "),
        text("ann@a.com ok"),
        tokens("ann", "@a", ".com", " ok"),
        STOP,
    ]
    kept = [
        each
        for event in guarded(events, is_whole=is_whole)
        if isinstance(event, LogprobsDelta)
        for each in event.tokens
    ]
    assert [each.token for each in kept] == ["to", " ", " ok"]


def test_tokens_wait_for_their_text() -> None:
    editor = GuardedEvents(Counted(data_rule(PersonalData.EMAIL)).rules, is_whole=False)
    assert [*editor.edit(text("ann@")), *editor.edit(tokens("ann", "@"))] == []


def test_tokens_that_are_not_the_text_are_all_of_all_of_it() -> None:
    assert guarded([text("é ann@a.com"), tokens("\\xc3", "\\xa9", " ann@a.com"), STOP]) == [text("é [EMAIL]"), STOP]
    odd = tokens("\\xc3", "\\xa9")
    assert guarded([text("é"), odd, STOP]) == [text("é"), odd, STOP]


def test_what_is_denied_ends_the_answer() -> None:
    editor = GuardedEvents(Counted(data_rule(PersonalData.EMAIL, GuardrailAction.DENY)).rules, is_whole=False)
    assert editor.edit(text("ann@a.com")) == []
    with pytest.raises(GuardrailDeniedError):
        editor.edit(STOP)


def joined(events: Iterable[ChatEvent]) -> dict[tuple[object, ...], str]:
    """All texts by what they are of, and how often anything else came."""
    texts: dict[tuple[object, ...], str] = {}
    for event in events:
        match event:
            case TextDelta() | RefusalDelta() | ReasoningDelta():
                key: tuple[object, ...] = (type(event), event.choice)
                texts[key] = texts.get(key, "") + event.text
            case ToolCallDelta():
                key = (type(event), event.choice, event.index)
                texts[key] = texts.get(key, "") + event.id + event.name + event.signature
                texts[*key, "arguments"] = texts.get((*key, "arguments"), "") + event.arguments
            case LogprobsDelta():
                key = (type(event), event.choice)
                texts[key] = texts.get(key, "") + repr(event.tokens)[1:-1].rstrip(",") + ","
            case _:
                texts[(repr(event),)] = texts.get((repr(event),), "") + "."
    return {key: _read(value) if key[-1] == "arguments" else value for key, value in texts.items() if value}


def _read(arguments: str) -> str:
    """Arguments with escapes written in one way."""
    try:
        return json.dumps(json.loads(arguments))
    except ValueError:
        return arguments


@given(st.data(), st.booleans())
def test_answer_in_which_nothing_is_found_says_the_same(data: st.DataObject, is_whole: bool) -> None:
    events: list[ChatEvent] = [each for each in data.draw(answers()) if not isinstance(each, LogprobsDelta)]
    counted = Counted(data_rule(PersonalData.EMAIL))
    editor = GuardedEvents(counted.rules, is_whole=is_whole)
    edited = [*(each for event in events for each in editor.edit(event)), *editor.finish()]
    if not counted.found:
        assert joined(edited) == joined(events)
