"""Answers whose texts somebody elsewhere judges: nothing is lost, changed or let go that was not judged so."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from gateway.edits import AnswerEdits, EditedEvents
from gateway.filters.judged_events import JudgedEvents
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
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageReported,
)

WORDS = st.text("ab ", max_size=6)
CHOICES = st.integers(0, 1)
EVENTS: st.SearchStrategy[list[ChatEvent]] = st.lists(
    st.builds(TextDelta, choice=CHOICES, text=WORDS)
    | st.builds(ReasoningDelta, choice=CHOICES, text=WORDS)
    | st.builds(ToolCallDelta, choice=CHOICES, index=st.integers(0, 1), id=st.just("c"), arguments=WORDS)
    | st.builds(CitationAdded, choice=CHOICES, citation=st.builds(Citation, title=WORDS, cited_text=WORDS))
    | st.builds(ReasoningSigned, choice=CHOICES, signature=st.just("s"))
    | st.builds(ChoiceFinished, choice=CHOICES, reason=st.just(FinishReason.STOP)),
    max_size=20,
)


class Judge:
    """Changes what it is told to, and notes what it was asked."""

    def __init__(self, old: str = "", new: str = "") -> None:
        self.asked: list[tuple[Sequence[str], Sequence[str], bool]] = []
        self._old, self._new = old, new

    async def __call__(self, texts: Sequence[str], before: Sequence[str], *, is_last: bool) -> Sequence[str]:
        self.asked.append((texts, before, is_last))
        return [text.replace(self._old, self._new) for text in texts] if self._old else texts


async def through(judge: Judge, window: int | None, events: Sequence[ChatEvent]) -> list[ChatEvent]:
    edited = EditedEvents(AnswerEdits(events=(lambda _: JudgedEvents(judge, window),), is_judged=True))
    out: list[ChatEvent] = []
    for event in events:
        out += edited.edit(event)
        out += await edited.settle()
    return out + await edited.end()


@given(EVENTS, st.none() | st.integers(1, 30))
async def test_what_is_allowed_goes_on_as_it_came(events: list[ChatEvent], window: int | None) -> None:
    judge = Judge()
    assert await through(judge, window, events) == events
    said = "".join(event.text for event in events if isinstance(event, TextDelta) and event.choice == 0)
    assert said == "" or judge.asked


@given(EVENTS)
async def test_all_of_a_text_is_judged_as_one_however_it_is_cut(events: list[ChatEvent]) -> None:
    told = await through(Judge("ab", "#"), None, events)
    for choice in (0, 1):
        said, judged = (
            "".join(event.text for event in each if isinstance(event, TextDelta) and event.choice == choice)
            for each in (events, told)
        )
        assert judged == said.replace("ab", "#")
    assert [type(each) for each in told if isinstance(each, ChoiceFinished)] == [
        type(each) for each in events if isinstance(each, ChoiceFinished)
    ]


async def test_what_comes_before_any_text_waits_for_nobody() -> None:
    events = JudgedEvents(Judge(), 100)
    started, usage = (
        AnswerStarted(id="1", model="m", created=1),
        UsageReported(usage=Usage(input_tokens=1, output_tokens=1)),
    )
    assert events.edit(started) == (started,)
    assert events.edit(TextDelta(choice=0, text="a")) == ()
    assert events.edit(usage) == ()
    assert not events.is_due


async def test_nothing_is_asked_of_an_answer_without_texts() -> None:
    judge = Judge()
    finished = ChoiceFinished(choice=0, reason=FinishReason.STOP)
    assert await through(judge, 10, [finished]) == [finished]
    assert judge.asked == []


async def test_thought_that_was_changed_loses_its_signature_and_text_its_probabilities() -> None:
    tokens = LogprobsDelta(choice=0, tokens=(TokenLogprob(token="ab", logprob=-1.0),))
    events: list[ChatEvent] = [
        ReasoningDelta(choice=0, text="ab"),
        ReasoningSigned(choice=0, signature="s"),
        TextDelta(choice=0, text="ab"),
        tokens,
    ]
    assert await through(Judge("ab", "#"), None, events) == [
        ReasoningDelta(choice=0, text="#"),
        TextDelta(choice=0, text="#"),
    ]
    assert await through(Judge("c", "#"), None, events) == events


async def test_each_window_comes_with_what_went_on_before_it() -> None:
    judge = Judge("ab", "#")
    await through(judge, 3, [TextDelta(choice=0, text=text) for text in ("cab", "abc", "c")])
    assert judge.asked == [
        (["cab"], [""], False),
        (["abc"], ["c#"], False),
        (["c"], ["##c"], True),
    ]
