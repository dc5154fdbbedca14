"""Canonical events to answers of Gemini's `generateContent`, whole and piece by piece."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec

from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.gemini.answer import GROUNDING
from gateway.schemas.gemini.request import NAME
from gateway.schemas.gemini.request_encoder import call_arguments
from gateway.schemas.gemini.usage import usage_fields
from gateway.schemas.growing_arguments import GrowingArguments
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FinishReason,
    LogprobsDelta,
    OpaqueAdded,
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

_FINISH_REASONS = {
    None: "OTHER",
    FinishReason.STOP: "STOP",
    FinishReason.TOOL_CALLS: "STOP",
    FinishReason.LENGTH: "MAX_TOKENS",
    FinishReason.CONTENT_FILTER: "SAFETY",
}

_CITATION_FIELDS = ("startIndex", "endIndex", "license", "publicationDate")


def encode_answer(events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
    """A whole answer: its events folded."""
    answer = _Answer(settings)
    for event in events:
        answer.add(event)
    return msgspec.json.encode(answer.take(is_last=True, is_whole=True))


class PieceEncoder:
    """Makes the pieces of one streamed answer."""

    def __init__(self, settings: AnswerSettings) -> None:
        self._answer = _Answer(settings)

    def encode(self, events: Iterable[ChatEvent]) -> bytes:
        """One piece for what came together. A function call, which Gemini has only whole, waits for its end."""
        for event in events:
            self._answer.add(event)
        return _sse(self._answer.take(is_last=False))

    def finish(self) -> bytes:
        """What is left; Gemini's streams have no end mark."""
        return _sse(self._answer.take(is_last=True))


def _sse(piece: dict[str, Any] | None) -> bytes:
    return b"" if piece is None else b"data: %b\r\n\r\n" % msgspec.json.encode(piece)


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    signature: str = ""
    arguments: GrowingArguments = field(default_factory=GrowingArguments)

    def part(self) -> dict[str, Any]:
        call: dict[str, Any] = {"name": self.name, "args": call_arguments(self.arguments.text())}
        if self.id:
            call["id"] = self.id
        return {"functionCall": call, "thoughtSignature": self.signature} if self.signature else {"functionCall": call}


@dataclass(slots=True)
class _Candidate:
    """What has come of one alternative and has not been sent. Calls stand in the order in which they began."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    citations: list[dict[str, Any]] = field(default_factory=list)
    grounding: object = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finished: ChoiceFinished | None = None
    is_done: bool = False

    def add_text(self, text: str, *, is_thought: bool) -> None:
        """Joins texts of one kind that follow each other."""
        self.send_whole_calls()
        last = self.parts[-1] if self.parts else {}
        if "text" in last and "thoughtSignature" not in last and last.get("thought", False) == is_thought:
            last["text"] += text
        else:
            self.parts.append({"text": text, "thought": True} if is_thought else {"text": text})

    def sign(self, signature: str) -> None:
        """Signs the thought before; what else is signed gets an empty text, as Gemini writes it."""
        if self.parts and self.parts[-1].get("thought") and "thoughtSignature" not in self.parts[-1]:
            self.parts[-1]["thoughtSignature"] = signature
        else:
            self.parts.append({"text": "", "thoughtSignature": signature})

    def cite(self, citation: Citation) -> None:
        """A source of its own; those that a search found go with what else it found."""
        extra = citation.extra or {}
        if GROUNDING not in extra:
            told = {"uri": citation.url, "title": citation.title}
            own = {name: value for name, value in extra.items() if name in _CITATION_FIELDS}
            self.citations.append({name: value for name, value in told.items() if value} | own)

    def add_opaque(self, value: Mapping[str, Any]) -> None:
        """A part that only Gemini has, or what a search found, which stands beside the parts."""
        self.send_whole_calls()
        if GROUNDING in value:
            self.grounding = value[GROUNDING]
        else:
            self.parts.append(dict(value))

    def add_call(self, event: ToolCallDelta) -> None:
        if event.index not in self.calls:
            self.send_whole_calls()
        call = self.calls.setdefault(event.index, _Call())
        call.id = call.id or event.id
        call.name = call.name or event.name
        call.signature = call.signature or event.signature
        call.arguments.add(event.arguments)

    def send_whole_calls(self) -> None:
        """Sends the calls that nothing more can come of, up to the first that is still being written."""
        for index, call in list(self.calls.items()):
            if not call.arguments.is_whole():
                return
            self.parts.append(call.part())
            del self.calls[index]

    def send_calls(self) -> None:
        """Sends all calls."""
        self.parts += (call.part() for call in self.calls.values())
        self.calls = {}

    def finish(self, event: ChoiceFinished) -> None:
        self.send_calls()
        self.finished = event

    def take(self, index: int) -> dict[str, Any] | None:
        """The alternative as it goes out now; None if nothing new has come."""
        ends = self.finished is not None and not self.is_done
        if not (self.parts or self.citations or self.grounding or self.logprobs or ends):
            return None
        fields: dict[str, Any] = {"content": {"parts": self.parts, "role": "model"}, "index": index}
        if self.finished is not None and ends:
            fields["finishReason"] = _FINISH_REASONS[self.finished.reason]
            self.is_done = True
        if self.citations:
            fields["citationMetadata"] = {"citations": self.citations}
        if self.grounding:
            fields[GROUNDING] = self.grounding
        if self.logprobs:
            fields["logprobsResult"] = _logprobs(self.logprobs)
        self.parts, self.citations, self.grounding, self.logprobs = [], [], None, []
        return fields


class _Answer:
    """An answer as far as it has come."""

    def __init__(self, settings: AnswerSettings) -> None:
        self._settings = settings
        self._id = ""
        self._candidates: dict[int, _Candidate] = {}
        self._usage: Usage | None = None
        self._is_usage_new = False

    def add(self, event: ChatEvent) -> None:
        match event:
            case AnswerStarted():
                self._id = event.id
            case UsageReported():
                self._usage = event.usage
                self._is_usage_new = True
            case _:
                self._add_to(self._candidates.setdefault(event.choice, _Candidate()), event)

    def _add_to(self, candidate: _Candidate, event: ChatEvent) -> None:
        match event:
            case TextDelta() | RefusalDelta():
                candidate.add_text(event.text, is_thought=False)
            case ReasoningDelta():
                candidate.add_text(event.text, is_thought=True)
            case ReasoningSigned():
                candidate.sign(event.signature)
            case ReasoningRedacted():
                pass  # Gemini shows a thought or does not
            case CitationAdded(citation=citation):
                candidate.cite(citation)
            case ToolCallDelta():
                candidate.add_call(event)
            case LogprobsDelta():
                candidate.logprobs += event.tokens
            case OpaqueAdded(part=part):
                if part.dialect == NAME:
                    candidate.add_opaque(part.value)
            case ChoiceFinished():
                candidate.finish(event)
            case AnswerStarted() | UsageReported():
                raise AssertionError("these belong to no alternative")
            case _:
                assert_never(event)

    def take(self, *, is_last: bool, is_whole: bool = False) -> dict[str, Any] | None:
        """What goes out now; None if nothing new has come."""
        if is_last:
            for candidate in self._candidates.values():
                candidate.send_calls()
        candidates = [
            fields for index in sorted(self._candidates) if (fields := self._candidates[index].take(index)) is not None
        ]
        if not candidates and not self._is_usage_new and not is_whole:
            return None
        piece: dict[str, Any] = {"candidates": candidates} if candidates else {}
        if self._usage is not None:  # as with Gemini itself it stands in every piece as soon as it is known
            piece["usageMetadata"] = usage_fields(self._usage)
            self._is_usage_new = False
        return {**piece, "modelVersion": self._settings.model, "responseId": self._id}


def _logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    tokens = list(tokens)
    return {
        "chosenCandidates": list(_tokens(tokens)),
        "topCandidates": [{"candidates": list(_tokens(token.top))} for token in tokens],
    }


def _tokens(tokens: Iterable[TokenLogprob]) -> Iterator[dict[str, Any]]:
    for token in tokens:
        yield {"token": token.token, "logProbability": token.logprob}
