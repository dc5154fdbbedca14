"""Answers of Ollama's `/api/chat` to canonical events: a whole one and each line of a stream have the same form."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from gateway.errors import BadGatewayError
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    FinishReason,
    LogprobsDelta,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageReported,
)

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    # Nothing was asked but to load a model, or to free its memory.
    "load": FinishReason.STOP,
    "unload": FinishReason.STOP,
}
_MAX_TOKENS = 2**63 - 1


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


class _Call(msgspec.Struct):
    function: _Function | None = None
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Logprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: "list[_Logprob] | None" = None

    def to_token(self) -> TokenLogprob:
        raw = bytes(byte & 0xFF for byte in self.bytes) if self.bytes else self.token.encode()
        top = tuple(other.to_token() for other in self.top_logprobs or ())
        return TokenLogprob(token=self.token, logprob=self.logprob, bytes=raw, top=top)


class Line(msgspec.Struct):
    """A whole answer, or a line of one."""

    message: _Message | None = None
    model: str | None = None
    created_at: str | None = None
    done: bool | None = None
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[_Logprob] | None = None
    error: Any = None

    @property
    def usage(self) -> Usage | None:
        """What the last line tells."""
        if self.prompt_eval_count is None and self.eval_count is None:
            return None
        return Usage(input_tokens=_count(self.prompt_eval_count), output_tokens=_count(self.eval_count))


def _count(tokens: int | None) -> int:
    return min(max(tokens or 0, 0), _MAX_TOKENS)


line_decoder = msgspec.json.Decoder(Line)


def decode_answer(body: bytes) -> Sequence[ChatEvent]:
    """The events of a whole answer. Raises `BadGatewayError` for what is no answer."""
    events = LineDecoder().decode_line(body)
    if not any(isinstance(event, ChoiceFinished) for event in events):
        raise malformed("it does not say that it is done")
    return events


class LineDecoder:
    """Turns the lines of one answer into events; a whole answer is one line."""

    def __init__(self) -> None:
        self._begun = ""
        self._calls = 0

    def decode(self, event: ServerSentEvent) -> Sequence[ChatEvent]:
        """The events of one line. Raises `BadGatewayError`."""
        return self.decode_line(event.data) if event.data else ()

    def decode_line(self, data: bytes) -> Sequence[ChatEvent]:
        """The same for its bytes."""
        try:
            return list(self._events(line_decoder.decode(data)))
        except UNREADABLE as error:
            raise malformed(error) from None

    def _events(self, line: Line) -> Iterator[ChatEvent]:
        if line.error is not None:
            text = f"the upstream failed: {line.error}" if isinstance(line.error, str) else "the upstream failed"
            raise BadGatewayError(text, reason="UPSTREAM_FAILED")
        if not self._begun:
            self._begun = line.created_at or str(time.time_ns())
            yield AnswerStarted(id="", model=line.model or "", created=_created(line.created_at))
        if (message := line.message) is not None:
            if message.thinking:
                yield ReasoningDelta(choice=0, text=message.thinking)
            if message.content:
                yield TextDelta(choice=0, text=message.content)
            for call in message.tool_calls or ():
                yield self._call_event(call)
        if line.logprobs:
            yield LogprobsDelta(choice=0, tokens=tuple(token.to_token() for token in line.logprobs))
        if line.done:
            reason = _FINISH_REASONS.get(line.done_reason or "stop")
            yield ChoiceFinished(
                choice=0, reason=FinishReason.TOOL_CALLS if reason is FinishReason.STOP and self._calls else reason
            )
            if (usage := line.usage) is not None:
                yield UsageReported(usage=usage)

    def _call_event(self, call: _Call) -> ToolCallDelta:
        function = call.function or _Function()
        index = self._calls
        self._calls += 1
        arguments = bytes(function.arguments).decode()
        return ToolCallDelta(
            choice=0,
            index=index,
            id=call.id or self._make_id(index),
            name=function.name or "",
            arguments="{}" if arguments == "null" else arguments,
        )

    def _make_id(self, index: int) -> str:
        """An id that no other answer of a conversation has: of the time when this one began, to the nanosecond."""
        return f"call_{hashlib.blake2s(f'{self._begun} {index}'.encode(), digest_size=12).hexdigest()}"


def _created(written: str | None) -> int:
    try:
        return int(datetime.fromisoformat(written or "").timestamp())
    except (ValueError, OverflowError, OSError):
        return int(time.time())
