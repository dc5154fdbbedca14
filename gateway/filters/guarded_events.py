"""The events of one answer under the rules of a guardrail."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from msgspec.structs import replace

from gateway.filters.guarded_texts import masked_citation, masked_json
from gateway.filters.json_masks import JsonMasks
from gateway.filters.text_rules import TextRules
from gateway.filters.text_window import TextWindow
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    CitationAdded,
    LogprobsDelta,
    OpaqueAdded,
    ReasoningDelta,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    UsageReported,
)

_Piece: TypeAlias = TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta


class GuardedEvents:
    """Holds texts back as long as a match may be in the making. What comes after a text waits for its end.

    Arguments of several calls may come in turns; all other texts of an alternative end where something else begins.
    """

    def __init__(self, rules: TextRules, *, is_whole: bool) -> None:
        self._rules = rules
        self._is_whole = is_whole
        self._texts: dict[tuple[int, type[_Piece], int], _GuardedText] = {}
        self._masked_thoughts: set[int] = set()

    def edit(self, event: ChatEvent) -> Sequence[ChatEvent]:
        """What can go on now. Raises `GuardrailDeniedError`."""
        match event:
            case AnswerStarted() | UsageReported():
                return (event,)
            case TextDelta() | RefusalDelta() | ReasoningDelta() | ToolCallDelta():
                return [*self._end(event.choice, type(event)), *self._text_of(event).feed(event)]
            case LogprobsDelta():
                text = self._texts.get((event.choice, TextDelta, 0))
                return () if text is None else text.feed_tokens(event)
        ended = self._end(event.choice, None)
        match event:
            case ReasoningSigned() if event.choice in self._masked_thoughts:
                self._masked_thoughts.discard(event.choice)
                return ended  # what it signs is no longer there
            case CitationAdded():
                return [*ended, replace(event, citation=masked_citation(self._rules, event.citation))]
            case OpaqueAdded():
                value = masked_json(self._rules, event.part.value)
                return [*ended, replace(event, part=replace(event.part, value=value))]
            case _:
                return [*ended, event]

    def finish(self) -> Sequence[ChatEvent]:
        """What is still held. Raises `GuardrailDeniedError`."""
        choices = dict.fromkeys(choice for choice, _, _ in self._texts)
        return [event for choice in choices for event in self._end(choice, None)]

    def _text_of(self, event: _Piece) -> "_GuardedText":
        key = (event.choice, type(event), event.index if isinstance(event, ToolCallDelta) else 0)
        text = self._texts.get(key)
        if text is None:
            json = JsonMasks() if isinstance(event, ToolCallDelta) else None
            window = TextWindow(self._rules, is_whole=self._is_whole, json=json)
            text = self._texts[key] = _GuardedText(event, window)
        return text

    def _end(self, choice: int, going_on: type[_Piece] | None) -> list[ChatEvent]:
        """The ends of the alternative's texts, but those of the kind that goes on."""
        ended: list[ChatEvent] = []
        for key in [key for key in self._texts if key[0] == choice and key[1] is not going_on]:
            text = self._texts.pop(key)
            ended += text.finish()
            if key[1] is ReasoningDelta and text.window.masks:
                self._masked_thoughts.add(choice)
        return ended


@dataclass(slots=True)
class _GuardedText:
    """One text, and the tokens that it consists of. `untold` is what no token has been told of yet."""

    first: _Piece
    window: TextWindow
    untold: list[str] = field(default_factory=list)
    told: int = 0
    waiting: list[tuple[TokenLogprob, tuple[int, int]]] = field(default_factory=list)

    def feed(self, event: _Piece) -> Iterator[ChatEvent]:
        text = event.arguments if isinstance(event, ToolCallDelta) else event.text
        if isinstance(event, TextDelta):
            self.untold.append(text)
        decided = self.window.feed(text)
        if decided or (isinstance(event, ToolCallDelta) and (event.id or event.name or event.signature)):
            yield _with_text(event, decided)
        yield from self._tokens()

    def feed_tokens(self, event: LogprobsDelta) -> list[ChatEvent]:
        """Tokens wait for what they are of. Where it cannot be told which is whose, all are of all."""
        said = "".join(self.untold)
        start, end = self.told, self.told + len(said)
        is_known = "".join(token.token for token in event.tokens) == said
        for token in event.tokens:
            place = (start, start + len(token.token)) if is_known else (self.told, end)
            self.waiting.append((token, place))
            start = place[1]
        self.told = end
        self.untold.clear()
        return list(self._tokens())

    def finish(self) -> list[ChatEvent]:
        rest = self.window.finish()
        ended = [_with_text(_bare(self.first), rest)] if rest else []
        return [*ended, *self._tokens()]

    def _tokens(self) -> Iterator[ChatEvent]:
        """The tokens whose text has gone on as it was."""
        ready = [each for each in self.waiting if each[1][1] <= self.window.decided]
        if ready:
            self.waiting = self.waiting[len(ready) :]
            if kept := tuple(token for token, place in ready if not self.window.has_masked(place)):
                yield LogprobsDelta(choice=self.first.choice, tokens=kept)


def _with_text(event: _Piece, text: str) -> ChatEvent:
    return replace(event, arguments=text) if isinstance(event, ToolCallDelta) else replace(event, text=text)


def _bare(event: _Piece) -> _Piece:
    """What is only told with the first piece of a call has been."""
    return replace(event, id="", name="", signature="") if isinstance(event, ToolCallDelta) else event
