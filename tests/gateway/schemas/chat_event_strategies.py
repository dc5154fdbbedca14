"""Plausible answers as canonical events, in any order that a decoder may give them, for property tests of dialects."""

import json
from collections.abc import Sequence

from hypothesis import strategies as st

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
    ToolCallDelta,
    Usage,
    UsageReported,
)

WORDS = st.text(min_size=1, max_size=8)
IDS = st.text("abcXYZ019_-", min_size=1, max_size=12)
COUNTS = st.integers(0, 10**6)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Usage that adds up."""
    read, written, thought, sound = (draw(COUNTS) for _ in range(4))
    return Usage(
        input_tokens=read + written + draw(COUNTS),
        output_tokens=thought + sound + draw(COUNTS),
        cached_input_tokens=read,
        cache_creation_tokens=written,
        reasoning_tokens=thought,
    )


def cut_text(text: str) -> st.SearchStrategy[list[str]]:
    """The text in pieces, none of them empty."""
    places = st.sets(st.integers(1, max(1, len(text) - 1)), max_size=4).map(sorted)
    return places.map(
        lambda borders: [
            text[start:end] for start, end in zip([0, *borders], [*borders, len(text)], strict=True) if text[start:end]
        ]
    )


@st.composite
def texts(draw: st.DrawFn, choice: int) -> list[ChatEvent]:
    """Text in pieces, perhaps with its sources."""
    events: list[ChatEvent] = [
        TextDelta(choice=choice, text=text) for text in draw(st.lists(WORDS, min_size=1, max_size=3))
    ]
    sources = [Citation(url=f"https://{url}", title=draw(WORDS)) for url in draw(st.lists(IDS, max_size=2))]
    return [*events, *(CitationAdded(choice=choice, citation=source) for source in sources)]


@st.composite
def thoughts(draw: st.DrawFn, choice: int) -> list[ChatEvent]:
    """A thought in pieces, perhaps signed, or one that cannot be read."""
    if draw(st.booleans()) and draw(st.booleans()):
        return [ReasoningRedacted(choice=choice, data=draw(IDS))]
    events: list[ChatEvent] = [
        ReasoningDelta(choice=choice, text=text) for text in draw(st.lists(WORDS, min_size=1, max_size=3))
    ]
    return [*events, ReasoningSigned(choice=choice, signature=draw(IDS))] if draw(st.booleans()) else events


@st.composite
def calls(draw: st.DrawFn, choice: int, count: int) -> list[ChatEvent]:
    """Calls of functions, their arguments one after another or by turns."""
    rows: list[list[ChatEvent]] = []
    for index in range(count):
        given = json.dumps(draw(st.dictionaries(IDS, WORDS | st.integers(-9, 9) | st.booleans(), max_size=3)))
        name, *pieces = draw(IDS), *draw(cut_text(given))
        first = pieces.pop(0) if draw(st.booleans()) else ""
        row: list[ChatEvent] = [
            ToolCallDelta(choice=choice, index=index, id=f"call_{index}_{draw(IDS)}", name=name, arguments=first)
        ]
        row += (ToolCallDelta(choice=choice, index=index, arguments=piece) for piece in pieces)
        rows.append(row)
    if draw(st.booleans()):
        return [event for row in rows for event in row]
    return draw(interleaved(rows))


@st.composite
def interleaved(draw: st.DrawFn, rows: Sequence[Sequence[ChatEvent]]) -> list[ChatEvent]:
    """The events of several rows, each row in its order."""
    left = [list(row) for row in rows if row]
    events: list[ChatEvent] = []
    while left:
        row = draw(st.sampled_from(range(len(left))))
        events.append(left[row].pop(0))
        if not left[row]:
            del left[row]
    return events


@st.composite
def alternatives(draw: st.DrawFn, choice: int, opaque_of: Sequence[str] = ()) -> list[ChatEvent]:
    """One alternative, from its first thought to its end."""
    events: list[ChatEvent] = []
    for _ in range(draw(st.integers(0, 3))):
        events += draw(thoughts(choice) | texts(choice))
        if draw(st.booleans()) and opaque_of:
            dialect: str = draw(st.sampled_from(list(opaque_of)))
            value = {"type": "server_thing", "of": draw(WORDS)}
            events.append(OpaqueAdded(choice=choice, part=OpaquePart(dialect=dialect, value=value)))
    if draw(st.booleans()) and draw(st.booleans()):
        events.append(RefusalDelta(choice=choice, text=draw(WORDS)))
    if draw(st.booleans()) and draw(st.booleans()):
        token = TokenLogprob(token=draw(WORDS), logprob=-0.5)
        events.append(LogprobsDelta(choice=choice, tokens=(token,)))
    events += draw(calls(choice, draw(st.integers(0, 3))))
    reason = draw(st.none() | st.sampled_from(FinishReason))
    return [*events, ChoiceFinished(choice=choice, reason=reason)]


@st.composite
def answers(draw: st.DrawFn, *, choices: int = 1, opaque_of: Sequence[str] = ()) -> list[ChatEvent]:
    """A whole answer: alternatives by turns; usage at the end, before what ends the last alternative, or never."""
    started = AnswerStarted(id=draw(IDS), model=draw(IDS), created=draw(st.integers(1, 2**40)))
    count = draw(st.integers(1, choices))
    events = draw(interleaved([draw(alternatives(choice, opaque_of)) for choice in range(count)]))
    if draw(st.booleans()):
        reported = UsageReported(usage=draw(usages()))
        events.insert(len(events) - draw(st.integers(0, 1)), reported)
    return [started, *events]


@st.composite
def batches(draw: st.DrawFn, events: Sequence[ChatEvent]) -> list[list[ChatEvent]]:
    """The events as they come together."""
    borders = sorted(draw(st.sets(st.integers(0, len(events)), max_size=5)))
    return [list(events[start:end]) for start, end in zip([0, *borders], [*borders, len(events)], strict=True)]
