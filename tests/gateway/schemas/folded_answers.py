"""What an answer says in all, whatever pieces it came in: canonical events folded, for tests of dialects to compare."""

from collections.abc import Iterable

import msgspec

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
    ReasoningPart,
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


class Alternative(msgspec.Struct):
    """What one choice says. Thoughts end with their signature; `finishes` has one item for each time it ended."""

    text: str = ""
    refusal: str = ""
    thoughts: list[ReasoningPart] = []
    calls: dict[int, ToolCall] = {}
    citations: list[Citation] = []
    opaque: list[OpaquePart] = []
    logprobs: list[TokenLogprob] = []
    finishes: list[tuple[FinishReason | None, str | None]] = []

    def add(self, event: ChatEvent) -> None:
        """One more event of this choice."""
        match event:
            case TextDelta(text=text):
                self.text += text
            case RefusalDelta(text=text):
                self.refusal += text
            case ReasoningDelta(text=text):
                if text:
                    self._think(text, None)
            case ReasoningSigned(signature=signature):
                self._think("", signature)
            case ReasoningRedacted(data=data):
                self.thoughts.append(ReasoningPart(redacted=data))
            case ToolCallDelta():
                self.call(event)
            case CitationAdded(citation=citation):
                self.citations.append(citation)
            case OpaqueAdded(part=part):
                self.opaque.append(part)
            case LogprobsDelta(tokens=tokens):
                self.logprobs += tokens
            case ChoiceFinished():
                self.finishes.append((event.reason, event.stop_sequence))

    def _think(self, text: str, signature: str | None) -> None:
        last = self.thoughts[-1] if self.thoughts else None
        if last is None or last.signature is not None or last.redacted is not None:
            self.thoughts.append(ReasoningPart(text=text, signature=signature))
        else:
            self.thoughts[-1] = ReasoningPart(text=last.text + text, signature=signature)

    def call(self, event: ToolCallDelta) -> None:
        """More of a call."""
        before = self.calls.get(event.index, ToolCall(id="", name="", arguments=""))
        self.calls[event.index] = ToolCall(
            id=before.id or event.id,
            name=before.name or event.name,
            arguments=before.arguments + event.arguments,
            signature=before.signature or event.signature or None,
        )


class Folded(msgspec.Struct):
    """What an answer says. `starts` has one item for each time it began."""

    starts: list[AnswerStarted] = []
    choices: dict[int, Alternative] = {}
    usages: list[Usage] = []

    @property
    def only(self) -> Alternative:
        """The one alternative there is."""
        assert list(self.choices) == [0]
        return self.choices[0]


def fold(events: Iterable[ChatEvent]) -> Folded:
    """The events folded."""
    folded = Folded()
    for event in events:
        match event:
            case AnswerStarted():
                folded.starts.append(event)
            case UsageReported(usage=usage):
                folded.usages.append(usage)
            case _:
                folded.choices.setdefault(event.choice, Alternative()).add(event)
    return folded
