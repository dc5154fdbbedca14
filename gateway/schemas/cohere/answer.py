"""Answers of Cohere's `/v2/chat`, whole and streamed, to canonical events."""

import time
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.errors import BadGatewayError
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.cohere.citations import decode_citations
from gateway.schemas.cohere.usage import UsageFields
from gateway.schemas.cohere.wire import DONE, FAILED, NAME
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    CitationAdded,
    FinishReason,
    LogprobsDelta,
    OpaqueAdded,
    OpaquePart,
    ReasoningDelta,
    ReasoningRedacted,
    ReasoningSigned,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    UsageReported,
)

# The last two are of the version before, and of servers that have both.
_FINISH_REASONS = MappingProxyType(
    {
        "COMPLETE": FinishReason.STOP,
        "STOP_SEQUENCE": FinishReason.STOP,
        "MAX_TOKENS": FinishReason.LENGTH,
        "TOOL_CALL": FinishReason.TOOL_CALLS,
        "ERROR_LIMIT": FinishReason.LENGTH,
        "ERROR_TOXIC": FinishReason.CONTENT_FILTER,
    }
)
_KNOWN_CONTENT = ("text", "thinking")


class _Content(msgspec.Struct):
    """A block of text or thinking, or more of one; the last two fields are Janua's, for thoughts of others."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    redacted: str | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None
    signature: str | None = None


class _Logprobs(msgspec.Struct):
    """Of a piece of text, which may be of several tokens."""

    text: str | None = None
    logprobs: list[float] | None = None

    def to_token(self) -> TokenLogprob:
        text = self.text or ""
        return TokenLogprob(token=text, logprob=sum(self.logprobs or ()), bytes=text.encode())


class _Message(msgspec.Struct):
    content: list[msgspec.Raw] | str | None = None
    tool_plan: str | None = None
    tool_calls: list[_Call] | None = None
    citations: Any = None


class _Answer(msgspec.Struct):
    message: _Message | str
    id: str | None = None
    finish_reason: str | None = None
    usage: UsageFields | None = None
    logprobs: list[_Logprobs] | None = None


class _MessageDelta(msgspec.Struct):
    """More of a message. The event that starts an answer has empty arrays where others have objects."""

    content: _Content | list[Any] | str | None = None
    tool_plan: str | None = None
    tool_calls: _Call | list[Any] | None = None
    citations: Any = None


class _Delta(msgspec.Struct):
    message: _MessageDelta | None = None
    finish_reason: str | None = None
    error: Any = None
    usage: UsageFields | None = None


class _Event(msgspec.Struct):
    type: str = ""
    id: str | None = None
    index: int | None = None
    delta: _Delta | None = None
    logprobs: _Logprobs | None = None
    message: Any = None


_answer_decoder = msgspec.json.Decoder(_Answer)
_content_decoder = msgspec.json.Decoder(_Content)
_event_decoder = msgspec.json.Decoder(_Event)


def decode_answer(body: bytes) -> Sequence[ChatEvent]:
    """The events of a whole answer. Raises `BadGatewayError` for what is not one."""
    try:
        answer = _answer_decoder.decode(body)
        return list(_answer_events(answer))
    except UNREADABLE as error:
        raise malformed(error) from None


def _answer_events(answer: _Answer) -> Iterator[ChatEvent]:
    message = answer.message
    if isinstance(message, str) or answer.finish_reason in FAILED:
        raise _failed(message if isinstance(message, str) else answer.finish_reason)
    yield _started(answer.id)
    if isinstance(message.content, str):
        yield from _content_events(_Content(text=message.content))
    else:
        for block in message.content or ():
            yield from _block_events(block)
    yield from _citation_events(message.citations)
    if message.tool_plan:
        yield ReasoningDelta(choice=0, text=message.tool_plan)
    for index, call in enumerate(message.tool_calls or ()):
        yield _call_event(index, call)
    if answer.logprobs:
        yield LogprobsDelta(choice=0, tokens=tuple(each.to_token() for each in answer.logprobs))
    yield from _end_events(answer.finish_reason, answer.usage)


def _started(identifier: str | None) -> AnswerStarted:
    """Answers do not tell their model, nor when they were made."""
    return AnswerStarted(id=identifier or "", model="", created=int(time.time()))


def _block_events(block: msgspec.Raw) -> Iterator[ChatEvent]:
    try:
        content = _content_decoder.decode(block)
    except msgspec.ValidationError:
        content = _Content(type="")
    if content.type is None or content.type in _KNOWN_CONTENT:
        yield from _content_events(content)
    elif isinstance(value := msgspec.json.decode(block), dict):
        yield OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value=value))


def _content_events(content: _Content) -> Iterator[ChatEvent]:
    if content.thinking:
        yield ReasoningDelta(choice=0, text=content.thinking)
    if content.signature:
        yield ReasoningSigned(choice=0, signature=content.signature)
    if content.redacted:
        yield ReasoningRedacted(choice=0, data=content.redacted)
    if content.text:
        yield TextDelta(choice=0, text=content.text)


def _citation_events(citations: object) -> Iterator[ChatEvent]:
    for value in citations if isinstance(citations, list) else [citations]:
        if isinstance(value, dict):
            for citation in decode_citations(value):
                yield CitationAdded(choice=0, citation=citation)


def _call_event(index: int, call: _Call) -> ToolCallDelta:
    function = call.function or _Function()
    return ToolCallDelta(
        choice=0,
        index=index,
        id=call.id or "",
        name=function.name or "",
        arguments=function.arguments or "",
        signature=call.signature or "",
    )


def _end_events(finish_reason: str | None, usage: UsageFields | None) -> Iterator[ChatEvent]:
    yield ChoiceFinished(choice=0, reason=_FINISH_REASONS.get(finish_reason or ""))
    if usage is not None:
        yield UsageReported(usage=usage.to_usage())


class EventDecoder:
    """Turns the events of one streamed answer into canonical ones."""

    def __init__(self) -> None:
        self._has_started = False
        self._has_ended = False
        self._calls: dict[int | None, int] = {}
        self._call_count = 0

    def decode(self, event: ServerSentEvent) -> Sequence[ChatEvent]:
        """The events that one event of the stream brings. Raises `BadGatewayError`."""
        if not event.data or event.data == DONE:
            return ()
        try:
            found = _event_decoder.decode(event.data)
        except UNREADABLE as error:
            raise malformed(error) from None
        if isinstance(found.message, str):
            raise _failed(found.message)
        return list(self._events(found.type or event.event, found))

    def _events(self, kind: str, found: _Event) -> Iterator[ChatEvent]:
        delta = found.delta or _Delta()
        if not self._has_started and kind.startswith(("message-", "content-", "tool-", "citation-")):
            self._has_started = True
            yield _started(found.id)
        if delta.message is not None:
            yield from self._message_events(kind, found.index, delta.message)
        if found.logprobs is not None:
            yield LogprobsDelta(choice=0, tokens=(found.logprobs.to_token(),))
        if kind == "message-end" and not self._has_ended:
            if delta.error or delta.finish_reason in FAILED:
                raise _failed(delta.error or delta.finish_reason)
            self._has_ended = True
            yield from _end_events(delta.finish_reason, delta.usage)
        elif kind == "error":
            raise _failed(delta.error)

    def _message_events(self, kind: str, index: int | None, message: _MessageDelta) -> Iterator[ChatEvent]:
        if isinstance(message.content, _Content):
            yield from _content_events(message.content)
        if message.tool_plan:
            yield ReasoningDelta(choice=0, text=message.tool_plan)
        if isinstance(message.tool_calls, _Call):
            yield self._call_delta(kind, index, message.tool_calls)
        yield from _citation_events(message.citations)

    def _call_delta(self, kind: str, index: int | None, call: _Call) -> ToolCallDelta:
        """More of a call, which is numbered anew: others' numbers may begin where those of content end."""
        if kind == "tool-call-start" or index not in self._calls:
            self._calls[index] = self._call_count
            self._call_count += 1
        return _call_event(self._calls[index], call)


def _failed(told: object) -> BadGatewayError:
    text = f"the upstream failed: {told}" if isinstance(told, str) else "the upstream failed"
    return BadGatewayError(text, reason="UPSTREAM_FAILED")
