"""Events of an answer folded into its blocks, for dialects whose answers are lists of blocks."""

from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    LogprobsDelta,
    OpaqueAdded,
    OpaquePart,
    ReasoningDelta,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)


@dataclass(slots=True)
class FoldedText:
    """Text, up to the first that comes after its sources."""

    pieces: list[str] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)


@dataclass(slots=True)
class FoldedThought:
    """A thought, up to its signature."""

    pieces: list[str] = field(default_factory=list)
    signature: str | None = None

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)


@dataclass(slots=True)
class FoldedCall:
    """A function call; `number` is its place among the calls."""

    number: int
    id: str = ""
    name: str = ""
    signature: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        """All of what the model wrote."""
        return "".join(self.pieces)

    def add(self, event: ToolCallDelta) -> None:
        """More of it."""
        self.id = self.id or event.id
        self.name = self.name or event.name
        self.signature = self.signature or event.signature
        self.pieces.append(event.arguments)


FoldedBlock: TypeAlias = FoldedText | FoldedThought | FoldedCall | ReasoningRedacted | OpaquePart


class FoldedAnswer:
    """What has come of the first alternative of an answer: its blocks in order, and how it began and ended.

    Blocks that only one dialect has are left out unless it is `dialect`.
    """

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self.started: AnswerStarted | None = None
        self.blocks: list[FoldedBlock] = []
        self.usage = Usage()
        self.finished = ChoiceFinished(choice=0, reason=None)
        self.is_refused = False
        self._calls: dict[int, FoldedCall] = {}

    @property
    def has_calls(self) -> bool:
        """Whether there is a call among the blocks."""
        return bool(self._calls)

    def add(self, event: ChatEvent) -> None:
        """One event more."""
        match event:
            case AnswerStarted():
                self.started = event
            case UsageReported(usage=usage):
                self.usage = usage
            case _ if event.choice != 0:
                pass
            case TextDelta(text=text):
                self._add_text(text)
            case RefusalDelta(text=text):
                self.is_refused = True
                self._add_text(text)
            case CitationAdded(citation=citation):
                self._last_text().citations.append(citation)
            case ReasoningDelta(text=text):
                if text:
                    self._thought().pieces.append(text)
            case ReasoningSigned(signature=signature):
                self._thought().signature = signature
            case ReasoningRedacted():
                self.blocks.append(event)
            case ToolCallDelta():
                self._call(event.index).add(event)
            case OpaqueAdded(part=part):
                if part.dialect == self._dialect:
                    self.blocks.append(part)
            case LogprobsDelta():
                pass  # such dialects have nothing like it
            case ChoiceFinished():
                self.finished = event
            case _:
                assert_never(event)

    def _add_text(self, text: str) -> None:
        """More of the text, in a block of its own after one that has sources."""
        if not text:
            return
        last = self.blocks[-1] if self.blocks else None
        if not isinstance(last, FoldedText) or last.citations:
            last = FoldedText()
            self.blocks.append(last)
        last.pieces.append(text)

    def _last_text(self) -> FoldedText:
        for block in reversed(self.blocks):
            if isinstance(block, FoldedText):
                return block
        made = FoldedText()
        self.blocks.append(made)
        return made

    def _thought(self) -> FoldedThought:
        last = self.blocks[-1] if self.blocks else None
        if not isinstance(last, FoldedThought) or last.signature is not None:
            last = FoldedThought()
            self.blocks.append(last)
        return last

    def _call(self, index: int) -> FoldedCall:
        if index not in self._calls:
            self._calls[index] = FoldedCall(number=index)
            self.blocks.append(self._calls[index])
        return self._calls[index]
