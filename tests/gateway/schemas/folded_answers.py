"""What an answer says in all, whatever pieces it came in: canonical events folded, for tests of dialects to compare."""

from collections.abc import Iterable
from dataclasses import dataclass, field

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


@dataclass(slots=True)
class Alternative:
    """What one choice says. Thoughts end with their signature; `finishes` has one item for each time it ended."""

    text: str = ""
    refusal: str = ""
    thoughts: list[ReasoningPart] = field(default_factory=list)
    calls: dict[int, ToolCall] = field(default_factory=dict)
    citations: list[Citation] = field(default_factory=list)
    opaque: list[OpaquePart] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finishes: list[tuple[FinishReason | None, str | None]] = field(default_factory=list)

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


@dataclass(slots=True)
class Folded:
    """What an answer says. `starts` has one item for each time it began."""

    starts: list[AnswerStarted] = field(default_factory=list)
    choices: dict[int, Alternative] = field(default_factory=dict)
    usages: list[Usage] = field(default_factory=list)

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
