"""Answers of OpenAI's responses, whole and as streams of typed events, to canonical events."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import msgspec

from gateway.errors import BadGatewayError
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.openai.responses_citations import read_citation
from gateway.schemas.openai.responses_reasoning import CallSignature, read_thought
from gateway.schemas.openai.responses_wire import NAME, UsageFields
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
    RefusalDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    UsageReported,
)

_INCOMPLETE = {"max_output_tokens": FinishReason.LENGTH, "content_filter": FinishReason.CONTENT_FILTER}
_LAST_CREATED = 2**53

# No answer has more items; a larger number would only cost memory.
_Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=65536)]
_Byte: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=255)]


class _Logprob(msgspec.Struct):
    token: str = ""
    logprob: float = 0.0
    bytes: list[_Byte] | None = None
    top_logprobs: "list[_Logprob] | None" = None

    def to_token(self) -> TokenLogprob:
        top = tuple(other.to_token() for other in self.top_logprobs or ())
        return TokenLogprob(token=self.token, logprob=self.logprob, bytes=bytes(self.bytes or ()), top=top)


class _Event(msgspec.Struct):
    """An event of a stream; each type has a few of these fields."""

    type: str = ""
    output_index: _Index = 0
    summary_index: int | None = None
    delta: Any = None
    logprobs: list[_Logprob] | None = None
    annotation: Any = None
    item: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()
    message: Any = None
    error: Any = None


class _Head(msgspec.Struct):
    type: str = ""
    id: str | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: Any = None
    logprobs: list[_Logprob] | None = None


class _Message(msgspec.Struct):
    content: list[_Part] | None = None


class _Call(msgspec.Struct):
    call_id: str | None = None
    id: str | None = None
    name: str | None = None
    arguments: str | None = None


class _Thought(msgspec.Struct):
    id: str | None = None
    summary: list[_Part] | None = None
    content: list[_Part] | None = None
    encrypted_content: str | None = None

    @property
    def text(self) -> str:
        """What the model thought, in full if that is shown, else in summary."""
        full = "".join(part.text or "" for part in self.content or ())
        return full or "\n\n".join(part.text or "" for part in self.summary or ())


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    output: list[msgspec.Raw] | None = None
    incomplete_details: Any = None
    error: Any = None
    usage: UsageFields | None = None


_event_decoder = msgspec.json.Decoder(_Event)
_head_decoder = msgspec.json.Decoder(_Head)
_message_decoder = msgspec.json.Decoder(_Message)
_call_decoder = msgspec.json.Decoder(_Call)
_thought_decoder = msgspec.json.Decoder(_Thought)
_response_decoder = msgspec.json.Decoder(_Response)
_object_decoder = msgspec.json.Decoder(dict[str, Any])


@dataclass(slots=True)
class _Seen:
    """What has come of an item. `told_by` is the kind of event that told a thought: the first one counts."""

    has_said: bool = False
    has_cited: bool = False
    told_by: str = ""
    parts: int = 0
    call: int | None = None
    is_done: bool = False


class AnswerDecoder:
    """Turns one answer into events. What a server leaves out of its stream is taken from the items when they end."""

    def __init__(self) -> None:
        self._has_started = False
        self._seen: dict[int, _Seen] = {}
        self._ids: set[str] = set()
        self._calls: dict[str, int] = {}
        self._call_count = 0
        self._signatures: dict[str, str] = {}

    def decode(self, event: ServerSentEvent) -> Sequence[ChatEvent]:
        """The events of one event of the stream. Raises `BadGatewayError`."""
        if not event.data or event.data == b"[DONE]":
            return ()
        try:
            return list(self._events(_event_decoder.decode(event.data), event.event))
        except UNREADABLE as error:
            raise malformed(error) from None

    def decode_whole(self, body: bytes) -> Sequence[ChatEvent]:
        """The events of a whole answer. Raises `BadGatewayError`."""
        try:
            response = _response_decoder.decode(body)
            if response.error is None and response.output is None and response.status is None:
                raise malformed("neither output nor status")
            return [*self._start(response), *self._finish(response)]
        except UNREADABLE as error:
            raise malformed(error) from None

    def _events(self, event: _Event, name: str) -> Iterator[ChatEvent]:
        match kind := event.type or name:
            case "response.output_text.delta":
                yield from self._text(event)
            case "response.function_call_arguments.delta":
                yield from self._arguments(event)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield from self._thought(kind, event)
            case "response.refusal.delta":
                if text := _text_of(event.delta):
                    self._at(event).has_said = True
                    yield RefusalDelta(choice=0, text=text)
            case "response.output_text.annotation.added":
                if (citation := read_citation(event.annotation)) is not None:
                    self._at(event).has_cited = True
                    yield CitationAdded(choice=0, citation=citation)
            case "response.output_item.added":
                yield from self._begin(event.output_index, event.item)
            case "response.output_item.done":
                yield from self._complete(event.output_index, event.item)
            case "response.created" | "response.in_progress" | "response.queued":
                yield from self._start(_response_decoder.decode(event.response))
            case "response.completed" | "response.incomplete" | "response.failed":
                response = _response_decoder.decode(event.response)
                response.status = response.status or kind.removeprefix("response.")
                yield from self._start(response)
                yield from self._finish(response)
            case "error":
                raise _failed(event.error or {"message": event.message})
            case _:
                if event.error is not None:
                    raise _failed(event.error)

    def _start(self, response: _Response) -> Iterator[ChatEvent]:
        if not self._has_started:
            self._has_started = True
            created = response.created_at
            known = created is not None and 0 < created < _LAST_CREATED
            yield AnswerStarted(
                id=response.id or "",
                model=response.model or "",
                created=int(created) if known and created is not None else int(time.time()),
            )

    def _at(self, event: _Event) -> _Seen:
        return self._seen.setdefault(event.output_index, _Seen())

    def _text(self, event: _Event) -> Iterator[ChatEvent]:
        text = _text_of(event.delta)
        if text or event.logprobs:
            self._at(event).has_said = True
        if text:
            yield TextDelta(choice=0, text=text)
        yield from _logprob_events(event.logprobs)

    def _arguments(self, event: _Event) -> Iterator[ChatEvent]:
        seen = self._at(event)
        if arguments := _text_of(event.delta):
            seen.has_said = True
            yield ToolCallDelta(choice=0, index=self._number(seen), arguments=arguments)

    def _thought(self, kind: str, event: _Event) -> Iterator[ChatEvent]:
        seen = self._at(event)
        seen.told_by = seen.told_by or kind
        if (text := _text_of(event.delta)) and kind == seen.told_by:
            part = event.summary_index or 0
            if part > seen.parts and seen.has_said:
                text = "\n\n" + text
            seen.has_said, seen.parts = True, part
            yield ReasoningDelta(choice=0, text=text)

    def _number(self, seen: _Seen) -> int:
        if seen.call is None:
            seen.call = self._call_count
            self._call_count += 1
        return seen.call

    def _begin(self, index: int, item: msgspec.Raw) -> Iterator[ChatEvent]:
        seen = self._seen.setdefault(index, _Seen())
        head = _head_decoder.decode(item)
        if head.id:
            self._ids.add(head.id)
        if head.type == "function_call" and seen.call is None:
            yield from self._begin_call(seen, _call_decoder.decode(item))

    def _begin_call(self, seen: _Seen, call: _Call) -> Iterator[ChatEvent]:
        number = self._number(seen)
        identifier = call.call_id or call.id or ""
        self._calls[identifier] = number
        seen.has_said = bool(call.arguments)
        yield ToolCallDelta(
            choice=0,
            index=number,
            id=identifier,
            name=call.name or "",
            arguments=call.arguments or "",
            signature=self._signatures.pop(identifier, ""),
        )

    def _complete(self, index: int, item: msgspec.Raw) -> Iterator[ChatEvent]:
        """What the item has that has not been told."""
        seen = self._seen.setdefault(index, _Seen())
        if seen.is_done:
            return
        seen.is_done = True
        match _head_decoder.decode(item).type:
            case "message":
                for part in _message_decoder.decode(item).content or ():
                    yield from _part_events(part, seen)
            case "function_call":
                call = _call_decoder.decode(item)
                if seen.call is None:
                    yield from self._begin_call(seen, call)
                elif not seen.has_said and call.arguments:
                    yield ToolCallDelta(choice=0, index=seen.call, arguments=call.arguments)
            case "reasoning":
                yield from self._complete_thought(seen, _thought_decoder.decode(item))
            case _:
                value = _object_decoder.decode(item)
                yield OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value=value))

    def _complete_thought(self, seen: _Seen, item: _Thought) -> Iterator[ChatEvent]:
        text = item.text
        if text and not seen.has_said:
            yield ReasoningDelta(choice=0, text=text)
        match read_thought(item.id or "", item.encrypted_content, ""):
            case CallSignature(call_id=call_id, signature=signature):
                if call_id in self._calls:
                    yield ToolCallDelta(choice=0, index=self._calls[call_id], signature=signature)
                else:
                    self._signatures[call_id] = signature
            case None:
                pass
            case thought if thought.redacted is not None:
                yield ReasoningRedacted(choice=0, data=thought.redacted)
            case thought:
                yield ReasoningSigned(choice=0, signature=thought.signature or "")

    def _finish(self, response: _Response) -> Iterator[ChatEvent]:
        if response.error is not None or response.status in ("failed", "cancelled"):
            raise _failed(response.error or {"message": f"the answer is {response.status}"})
        for index, item in enumerate(response.output or ()):
            # Some servers number items in the stream otherwise than they list them here.
            if index in self._seen or _head_decoder.decode(item).id not in self._ids:
                yield from self._complete(index, item)
        yield ChoiceFinished(choice=0, reason=self._reason(response))
        if response.usage is not None:
            yield UsageReported(usage=response.usage.to_usage())

    def _reason(self, response: _Response) -> FinishReason | None:
        match response.status:
            case "incomplete":
                details = response.incomplete_details
                reason = details.get("reason") if isinstance(details, dict) else None
                return _INCOMPLETE.get(reason) if isinstance(reason, str) else None
            case "completed" | None:
                return FinishReason.TOOL_CALLS if self._call_count else FinishReason.STOP
            case _:
                return None


def _part_events(part: _Part, seen: _Seen) -> Iterator[ChatEvent]:
    if not seen.has_said:
        if part.text:
            yield TextDelta(choice=0, text=part.text)
        if part.refusal:
            yield RefusalDelta(choice=0, text=part.refusal)
        yield from _logprob_events(part.logprobs)
    if not seen.has_cited and isinstance(part.annotations, list):
        for annotation in part.annotations:
            if (citation := read_citation(annotation)) is not None:
                yield CitationAdded(choice=0, citation=citation)


def _logprob_events(logprobs: list[_Logprob] | None) -> Iterator[ChatEvent]:
    if logprobs:
        yield LogprobsDelta(choice=0, tokens=tuple(token.to_token() for token in logprobs))


def _text_of(delta: object) -> str:
    return delta if isinstance(delta, str) else ""


def _failed(error: object) -> BadGatewayError:
    message = error.get("message") if isinstance(error, dict) else error
    text = f"the upstream failed: {message}" if isinstance(message, str) else "the upstream failed"
    return BadGatewayError(text, reason="UPSTREAM_FAILED")
