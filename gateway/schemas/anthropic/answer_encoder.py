"""Canonical events to whole answers of Anthropic's messages."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec

from gateway.schemas.anthropic.answer_parts import call_block, made_call_id, message_fields, signature_carrier
from gateway.schemas.anthropic.arguments import to_input
from gateway.schemas.anthropic.citations import encode_citation
from gateway.schemas.anthropic.stop_reasons import stop_reason
from gateway.schemas.anthropic.wire import NAME
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    LogprobsDelta,
    OpaqueAdded,
    ReasoningDelta,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)


def encode_answer(events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
    """A whole answer: the events of its first alternative folded."""
    answer = _Answer(settings.model)
    for event in events:
        answer.add(event)
    return msgspec.json.encode(answer.fields())


@dataclass(slots=True)
class _Text:
    pieces: list[str] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)

    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"type": "text", "text": "".join(self.pieces)}
        if self.citations:
            fields["citations"] = [encode_citation(citation) for citation in self.citations]
        return fields


@dataclass(slots=True)
class _Thought:
    pieces: list[str] = field(default_factory=list)
    signature: str | None = None

    def fields(self) -> dict[str, Any]:
        return {"type": "thinking", "thinking": "".join(self.pieces), "signature": self.signature or ""}


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    signature: str = ""
    arguments: list[str] = field(default_factory=list)

    def add(self, event: ToolCallDelta) -> None:
        self.id = self.id or event.id
        self.name = self.name or event.name
        self.signature = self.signature or event.signature
        self.arguments.append(event.arguments)

    def fields(self, made_id: str) -> list[dict[str, Any]]:
        call_id = self.id or made_id
        block = call_block(call_id, self.name, self.signature, to_input("".join(self.arguments)))
        carrier = signature_carrier(call_id, self.signature)
        return [block] if carrier is None else [carrier, block]


class _Answer:
    """What has come of an answer: its blocks in order."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._started: AnswerStarted | None = None
        self._blocks: list[_Text | _Thought | _Call | dict[str, Any]] = []
        self._calls: dict[int, _Call] = {}
        self._usage: Usage | None = None
        self._finished: ChoiceFinished | None = None
        self._is_refused = False

    def add(self, event: ChatEvent) -> None:
        match event:
            case AnswerStarted():
                self._started = event
            case UsageReported(usage=usage):
                self._usage = usage
            case _ if event.choice != 0:
                pass  # an answer has one alternative here
            case TextDelta(text=text):
                self._add_text(text)
            case RefusalDelta(text=text):
                self._is_refused = True
                self._add_text(text)
            case CitationAdded(citation=citation):
                self._last_text().citations.append(citation)
            case ReasoningDelta(text=text):
                if text:
                    self._thought().pieces.append(text)
            case ReasoningSigned(signature=signature):
                self._thought().signature = signature
            case ReasoningRedacted(data=data):
                self._blocks.append({"type": "redacted_thinking", "data": data})
            case ToolCallDelta():
                self._call(event.index).add(event)
            case OpaqueAdded(part=part):
                if part.dialect == NAME:
                    self._blocks.append(dict(part.value))
            case LogprobsDelta():
                pass  # nothing like it here, and not asked for
            case ChoiceFinished():
                self._finished = event
            case _:
                assert_never(event)

    def _add_text(self, text: str) -> None:
        """More of the text, in a block of its own after one that has sources."""
        if not text:
            return
        last = self._blocks[-1] if self._blocks else None
        if not isinstance(last, _Text) or last.citations:
            last = _Text()
            self._blocks.append(last)
        last.pieces.append(text)

    def _last_text(self) -> _Text:
        for block in reversed(self._blocks):
            if isinstance(block, _Text):
                return block
        made = _Text()
        self._blocks.append(made)
        return made

    def _thought(self) -> _Thought:
        last = self._blocks[-1] if self._blocks else None
        if not isinstance(last, _Thought) or last.signature is not None:
            last = _Thought()
            self._blocks.append(last)
        return last

    def _call(self, index: int) -> _Call:
        if index not in self._calls:
            self._calls[index] = _Call()
            self._blocks.append(self._calls[index])
        return self._calls[index]

    def fields(self) -> dict[str, Any]:
        """The JSON of the answer."""
        fields = message_fields(self._started, self._model, self._usage)
        fields["content"] = self._content()
        finished = self._finished or ChoiceFinished(choice=0, reason=None)
        fields["stop_reason"] = stop_reason(
            finished.reason, finished.stop_sequence, has_calls=bool(self._calls), is_refused=self._is_refused
        )
        fields["stop_sequence"] = finished.stop_sequence
        return fields

    def _content(self) -> list[dict[str, Any]]:
        numbers = {id(call): number for number, call in self._calls.items()}
        content: list[dict[str, Any]] = []
        for block in self._blocks:
            match block:
                case _Call():
                    content += block.fields(made_call_id(self._started, numbers[id(block)]))
                case _Text() | _Thought():
                    content.append(block.fields())
                case _:
                    content.append(block)
        return content
