"""Canonical events to answers of Ollama's `/api/chat`, whole and line by line."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.ollama.request import call_fields
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    FinishReason,
    LogprobsDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageReported,
)

_LAST_SECOND = 253402300799  # of the year 9999


def encode_answer(events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
    """A whole answer: its events folded."""
    return LineEncoder(settings).whole(events)


class LineEncoder:
    """Makes the lines of one streamed answer. A function call, which Ollama has only whole, waits until the answer has
    ended; so does what was used, which stands in the last line."""

    def __init__(self, settings: AnswerSettings) -> None:
        self._model = settings.model
        self._created_at = _timestamp(time.time())
        self._calls: dict[int, _Call] = {}
        self._finished: ChoiceFinished | None = None
        self._usage = Usage()

    def encode(self, events: Iterable[ChatEvent]) -> bytes:
        """One line for what came together."""
        line = self._take(events)
        if self._finished is not None:
            self._add_calls(line)
        return self._line(line) if line.message or line.logprobs else b""

    def finish(self) -> bytes:
        """The calls of an answer that has not ended by itself, the reason to end, and what was used."""
        line = _Line()
        self._add_calls(line)
        return self._line(line, **_end_fields(self._finished, self._usage))

    def whole(self, events: Iterable[ChatEvent]) -> bytes:
        """A whole answer, which is the only line of itself."""
        line = self._take(events)
        self._add_calls(line)
        return self._line(line, **_end_fields(self._finished, self._usage)).rstrip(b"\n")

    def _take(self, events: Iterable[ChatEvent]) -> "_Line":
        line = _Line()
        message = line.message
        for event in events:
            match event:
                case AnswerStarted(created=created) if created > 0:
                    self._created_at = _timestamp(min(created, _LAST_SECOND))
                case TextDelta(choice=0, text=text) | RefusalDelta(choice=0, text=text):
                    message["content"] = message.get("content", "") + text
                case ReasoningDelta(choice=0, text=text):
                    message["thinking"] = message.get("thinking", "") + text
                case ToolCallDelta(choice=0):
                    self._calls.setdefault(event.index, _Call()).add(event)
                case LogprobsDelta(choice=0):
                    line.logprobs += (_logprob(token) for token in event.tokens)
                case ChoiceFinished(choice=0):
                    self._finished = event
                case UsageReported():
                    self._usage = event.usage
                case _:
                    pass  # signatures, citations and other alternatives have no place here
        return line

    def _add_calls(self, line: "_Line") -> None:
        if self._calls:
            line.message["tool_calls"] = [call_fields(call.whole()) for _, call in sorted(self._calls.items())]
            self._calls = {}

    def _line(self, line: "_Line", **more: Any) -> bytes:
        fields: dict[str, Any] = {
            "model": self._model,
            "created_at": self._created_at,
            "message": {"role": "assistant", "content": "", **line.message},
            "done": False,
            **more,
        }
        if line.logprobs:
            fields["logprobs"] = line.logprobs
        return msgspec.json.encode(fields) + b"\n"


@dataclass(slots=True)
class _Line:
    """What came together, as it is written."""

    message: dict[str, Any] = field(default_factory=dict)
    logprobs: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class _Call:
    """A call as far as it has come."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def add(self, event: ToolCallDelta) -> None:
        self.id = self.id or event.id
        self.name = self.name or event.name
        self.arguments.append(event.arguments)

    def whole(self) -> ToolCall:
        return ToolCall(id=self.id, name=self.name, arguments="".join(self.arguments))


def _end_fields(finished: ChoiceFinished | None, usage: Usage) -> dict[str, Any]:
    """What the last line has more than others. Times are not known here."""
    is_cut = finished is not None and finished.reason is FinishReason.LENGTH
    return {
        "done": True,
        "done_reason": "length" if is_cut else "stop",
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": usage.input_tokens,
        "prompt_eval_duration": 0,
        "eval_count": usage.output_tokens,
        "eval_duration": 0,
    }


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    return {
        "token": token.token,
        "logprob": token.logprob,
        "bytes": list(token.bytes),
        "top_logprobs": [
            {"token": other.token, "logprob": other.logprob, "bytes": list(other.bytes)} for other in token.top
        ],
    }
