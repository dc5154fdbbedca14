"""The events of one answer, held until somebody elsewhere has judged what is said in them."""

from collections.abc import Awaitable, Iterator, Sequence
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from gateway.edits import JudgingEditor
from gateway.filters.guarded_texts import Masks, masked_citation, masked_json
from gateway.filters.judged_texts import CollectedTexts, JudgedTexts
from gateway.types import (
    ChatEvent,
    CitationAdded,
    LogprobsDelta,
    OpaqueAdded,
    ReasoningDelta,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)

_Piece: TypeAlias = TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta
_PIECES = (TextDelta, RefusalDelta, ReasoningDelta, ToolCallDelta)
_Key: TypeAlias = tuple[int, type[_Piece], int]


class Judge(Protocol):
    """Who judges: gets texts, and what went on before them, and gives the texts as they may go on."""

    def __call__(self, texts: Sequence[str], before: Sequence[str], *, is_last: bool) -> Awaitable[Sequence[str]]:
        """See `Webhook.judge`."""


class JudgedEvents(JudgingEditor):
    """Holds all events from the first text on. What is due is judged together: each kind of text of each alternative as
    one, whatever pieces it came in. `window` is how many characters are due, None: all of the answer at once."""

    def __init__(self, judge: Judge, window: int | None) -> None:
        self._judge = judge
        self._window = window
        self._held: list[ChatEvent] = []
        self._size = 0
        self._before: dict[_Key, str] = {}
        self._changed_thoughts: set[int] = set()

    def edit(self, event: ChatEvent) -> Sequence[ChatEvent]:
        """Nothing but what comes before any text."""
        if isinstance(event, _PIECES):
            self._size += len(_text(event))
        elif not self._held and not isinstance(event, CitationAdded | OpaqueAdded | ReasoningSigned):
            return (event,)
        self._held.append(event)
        return ()

    @property
    def is_due(self) -> bool:
        """Whether the window is full."""
        return self._window is not None and self._size >= self._window

    async def judge(self, *, is_last: bool) -> Sequence[ChatEvent]:
        """What goes on of all that is held. Raises what the judge raises."""
        held, self._held, self._size = self._held, [], 0
        joined: dict[_Key, str] = {}
        for event in held:
            if isinstance(event, _PIECES):
                joined[_key(event)] = joined.get(_key(event), "") + _text(event)
        collected = CollectedTexts()
        for event in held:
            _replaced(collected, event)
        texts = [*joined.values(), *collected.texts]
        before = [self._before.get(key, "") for key in joined]
        judged = await self._judge(texts, before, is_last=is_last) if texts else texts
        if self._window is not None:
            for key, text in zip(joined, judged, strict=False):
                self._before[key] = (self._before.get(key, "") + text)[-self._window :]
        changed = {key: text for (key, said), text in zip(joined.items(), judged, strict=False) if text != said}
        return list(self._going_on(held, changed, JudgedTexts(judged[len(joined) :])))

    def _going_on(
        self, held: Sequence[ChatEvent], changed: dict[_Key, str], judged: JudgedTexts
    ) -> Iterator[ChatEvent]:
        told: set[_Key] = set()
        for event in held:
            match event:
                case TextDelta() | RefusalDelta() | ReasoningDelta() | ToolCallDelta():
                    key = _key(event)
                    if key not in changed:
                        yield event
                        continue
                    if isinstance(event, ReasoningDelta):
                        self._changed_thoughts.add(event.choice)
                    text = "" if key in told else changed[key]
                    told.add(key)
                    if text or (isinstance(event, ToolCallDelta) and (event.id or event.name or event.signature)):
                        yield _with_text(event, text)
                case LogprobsDelta() if (event.choice, TextDelta, 0) in changed:
                    pass  # of tokens that are no longer there
                case ReasoningSigned() if event.choice in self._changed_thoughts:
                    self._changed_thoughts.discard(event.choice)
                case _:
                    yield _replaced(judged, event)


def _replaced(masks: Masks, event: ChatEvent) -> ChatEvent:
    """An event that comes whole, with its texts replaced."""
    match event:
        case CitationAdded():
            return replace(event, citation=masked_citation(masks, event.citation))
        case OpaqueAdded():
            return replace(event, part=replace(event.part, value=masked_json(masks, event.part.value)))
        case _:
            return event


def _key(event: _Piece) -> _Key:
    return event.choice, type(event), event.index if isinstance(event, ToolCallDelta) else 0


def _text(event: _Piece) -> str:
    return event.arguments if isinstance(event, ToolCallDelta) else event.text


def _with_text(event: _Piece, text: str) -> ChatEvent:
    return replace(event, arguments=text) if isinstance(event, ToolCallDelta) else replace(event, text=text)
