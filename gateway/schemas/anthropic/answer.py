"""Answers of Anthropic's messages, whole and streamed, to canonical events.

A whole answer is read as a stream whose blocks come complete.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gateway.errors import BadGatewayError
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.anthropic.answer_blocks import Block, Delta, Position, open_block
from gateway.schemas.anthropic.usage import UsageFields
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.stop_reasons import ANTHROPIC
from gateway.types import AnswerStarted, ChatEvent, ChoiceFinished, RefusalDelta, UsageReported

_EVENTS = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    }
)
_DELTAS = frozenset({"text_delta", "thinking_delta", "signature_delta", "input_json_delta", "citations_delta"})


class _Head(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: UsageFields | None = None


class _Event(msgspec.Struct):
    type: str
    index: int | None = None
    message: _Head | None = None
    content_block: msgspec.Raw = msgspec.Raw(b"")
    delta: Delta | None = None
    usage: UsageFields | None = None


class _UnknownEvent(msgspec.Struct):
    """What is read of an event whose fields are not as known ones' are."""

    type: str
    index: Any = None
    delta: Any = None


class _Answer(msgspec.Struct):
    type: str = ""
    id: str | None = None
    model: str | None = None
    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    usage: UsageFields | None = None
    error: Any = None


_answer_decoder = msgspec.json.Decoder(_Answer)
_event_decoder = msgspec.json.Decoder(_Event)
_unknown_decoder = msgspec.json.Decoder(_UnknownEvent)


def decode_answer(body: bytes) -> Sequence[ChatEvent]:
    """The events of a whole answer. Raises `BadGatewayError` for what is not one."""
    try:
        answer = _answer_decoder.decode(body)
        if answer.type == "error" or answer.error is not None:
            raise _failed(answer.error)
        if answer.type != "message" and answer.content is None:
            raise malformed("it is no message")
        return list(_answer_events(answer))
    except UNREADABLE as error:
        raise malformed(error) from None


def _answer_events(answer: _Answer) -> Iterator[ChatEvent]:
    reader = _Reader()
    yield from reader.start(_Head(id=answer.id, model=answer.model, usage=answer.usage))
    for index, block in enumerate(answer.content or ()):
        yield from reader.open(index, block)
        yield from reader.close(index)
    end = Delta(stop_reason=answer.stop_reason, stop_sequence=answer.stop_sequence, stop_details=answer.stop_details)
    yield from reader.end(end, None)
    yield from reader.stop()


class EventDecoder:
    """Turns the events of one streamed answer into canonical ones.

    A block that only this dialect has is told when it is complete, and a text's sources when the text is.
    """

    def __init__(self) -> None:
        self._reader = _Reader()

    def decode(self, event: ServerSentEvent) -> Sequence[ChatEvent]:
        """The events that one event of the stream brings. Raises `BadGatewayError`."""
        data = event.data
        if not data:
            return ()
        if event.event == "error":
            raise _failed(_error_of(data))
        try:
            found = _read_event(data)
            return () if found is None else self._events(found, data)
        except UNREADABLE as error:
            raise malformed(error) from None

    def _events(self, found: _Event, data: bytes) -> Sequence[ChatEvent]:
        reader = self._reader
        match found.type:
            case "content_block_delta":
                return reader.add(found.index, found.delta or Delta(), data)
            case "content_block_start":
                return [*reader.start(_Head()), *reader.open(found.index, found.content_block)]
            case "content_block_stop":
                return reader.close(found.index)
            case "message_start":
                return list(reader.start(found.message or _Head()))
            case "message_delta":
                return list(reader.end(found.delta or Delta(), found.usage))
            case "message_stop":
                return list(reader.stop())
            case "error":
                raise _failed(_error_of(data))
            case _:
                return ()


def _read_event(data: bytes) -> _Event | None:
    """The event; None if it is of an unknown type. Raises what msgspec raises."""
    try:
        return _event_decoder.decode(data)
    except msgspec.ValidationError:
        match _unknown_decoder.decode(data):
            case _UnknownEvent(type=kind) if kind not in _EVENTS:
                return None
            case _UnknownEvent(index=int(index), delta={"type": str(kind)}) if kind not in _DELTAS:
                return _Event(type="content_block_delta", index=index)
        raise


class _Reader:
    """What has come of an answer: which blocks are open, and what it cost so far."""

    def __init__(self) -> None:
        self._has_started = False
        self._has_ended = False
        self._usage: UsageFields | None = None
        self._is_usage_told = False
        self._position = Position()
        self._blocks: dict[int | None, Block] = {}

    def start(self, head: _Head) -> Iterator[ChatEvent]:
        """The answer begins, if it has not."""
        if not self._has_started:
            self._has_started = True
            self._usage = head.usage
            yield AnswerStarted(id=head.id or "", model=head.model or "", created=int(time.time()))

    def open(self, index: int | None, block: msgspec.Raw) -> Sequence[ChatEvent]:
        """A block begins."""
        opened = open_block(block, self._position)
        self._blocks[index] = opened
        return opened.begin()

    def add(self, index: int | None, delta: Delta, data: bytes) -> Sequence[ChatEvent]:
        """More of a block."""
        block = self._blocks.get(index)
        if block is None:
            raise malformed(f"there is more of block {index}, which has not begun")
        return block.add(delta, data)

    def close(self, index: int | None) -> Sequence[ChatEvent]:
        """A block is complete."""
        block = self._blocks.pop(index, None)
        return () if block is None else block.end()

    def end(self, delta: Delta, usage: UsageFields | None) -> Iterator[ChatEvent]:
        """What comes after the blocks: why there are no more, and what it cost."""
        if usage is not None:
            self._usage = usage.after(self._usage)
        if not delta.stop_reason or self._has_ended:
            return
        yield from self._close_all()
        self._has_ended = True
        match delta.stop_details:
            case {"explanation": str(explanation)} if explanation:
                yield RefusalDelta(choice=0, text=explanation)
        yield ChoiceFinished(choice=0, reason=ANTHROPIC.read(delta.stop_reason), stop_sequence=delta.stop_sequence)
        yield from self._tell_usage()

    def stop(self) -> Iterator[ChatEvent]:
        """The end of the answer, also of one that did not say why."""
        yield from self._close_all()
        if not self._has_ended:
            self._has_ended = True
            yield ChoiceFinished(choice=0, reason=None)
        yield from self._tell_usage()

    def _close_all(self) -> Iterator[ChatEvent]:
        for index in list(self._blocks):
            yield from self.close(index)

    def _tell_usage(self) -> Iterator[ChatEvent]:
        if self._usage is not None and not self._is_usage_told:
            self._is_usage_told = True
            yield UsageReported(usage=self._usage.to_usage())


def _error_of(data: bytes) -> object:
    try:
        found = msgspec.json.decode(data)
    except UNREADABLE:
        return None
    return found.get("error") if isinstance(found, dict) else None


def _failed(error: object) -> BadGatewayError:
    message = error.get("message") if isinstance(error, dict) else error
    text = f"the upstream failed: {message}" if isinstance(message, str) else "the upstream failed"
    return BadGatewayError(text, reason="UPSTREAM_FAILED")
