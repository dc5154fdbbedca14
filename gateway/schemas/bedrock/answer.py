"""Answers of Bedrock's Converse, whole and streamed, to canonical events."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from gateway.errors import BadGatewayError
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.bedrock.answer_blocks import Block, Position, Start, block_events, open_block
from gateway.schemas.bedrock.errors import read_error
from gateway.schemas.bedrock.usage import UsageFields
from gateway.schemas.bedrock.wire import is_exception
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.stop_reasons import BEDROCK
from gateway.types import AnswerStarted, ChatEvent, ChoiceFinished, UsageReported


class _Message(msgspec.Struct):
    content: list[dict[str, Any]] | None = None


class _Output(msgspec.Struct):
    message: _Message | None = None


class _Answer(msgspec.Struct, rename="camel"):
    output: _Output
    stop_reason: str | None = None
    usage: UsageFields | None = None
    additional_model_response_fields: Any = None


class _Event(msgspec.Struct, rename="camel"):
    """An event of any kind; the padding that each has is passed over."""

    content_block_index: int | None = None
    start: Start | None = None
    delta: dict[str, Any] | None = None
    stop_reason: str | None = None
    usage: UsageFields | None = None
    additional_model_response_fields: Any = None


_answer_decoder = msgspec.json.Decoder(_Answer)
_event_decoder = msgspec.json.Decoder(_Event)


def decode_answer(body: bytes) -> Sequence[ChatEvent]:
    """The events of a whole answer. Raises `BadGatewayError` for what is not one."""
    try:
        answer = _answer_decoder.decode(body)
        return list(_answer_events(answer))
    except UNREADABLE as error:
        if (told := read_error(body)) is not None:
            raise _failed(told) from None
        raise malformed(error) from None


def _answer_events(answer: _Answer) -> Iterator[ChatEvent]:
    yield _started()
    position = Position()
    for block in (answer.output.message.content if answer.output.message else None) or ():
        yield from block_events(block, position)
    yield _finished(answer.stop_reason, answer.additional_model_response_fields)
    if answer.usage is not None:
        yield UsageReported(usage=answer.usage.to_usage())


def _started() -> AnswerStarted:
    """Answers have no id, and do not tell their model, nor when they were made."""
    return AnswerStarted(id="", model="", created=int(time.time()))


def _finished(stop_reason: str | None, own: object) -> ChoiceFinished:
    """`own` are the fields of the model that a request can ask to be told of."""
    sequence = own.get("stop_sequence") if isinstance(own, dict) else None
    return ChoiceFinished(
        choice=0,
        reason=BEDROCK.read(stop_reason or ""),
        stop_sequence=sequence if isinstance(sequence, str) and sequence else None,
    )


class EventDecoder:
    """Turns the events of one streamed answer into canonical ones.

    A block that only this dialect has is told when it is complete, and a text's sources when the text is.
    """

    def __init__(self) -> None:
        self._has_started = False
        self._has_ended = False
        self._position = Position()
        self._blocks: dict[int | None, Block] = {}

    def decode(self, event: ServerSentEvent) -> Sequence[ChatEvent]:
        """The events that one event of the stream brings. Raises `BadGatewayError`."""
        kind, data = event.event, event.data
        if is_exception(kind):
            raise _failed(read_error(data) or kind)
        try:
            if kind == "contentBlockDelta":
                found = _event_decoder.decode(data)
                return [*self._start(), *self._block(found.content_block_index, found.delta).add(found.delta or {})]
            return list(self._events(kind, data))
        except UNREADABLE as error:
            if (told := read_error(data)) is not None:
                raise _failed(told) from None
            raise malformed(error) from None

    def _events(self, kind: str, data: bytes) -> Iterator[ChatEvent]:
        match kind:
            case "messageStart":
                yield from self._start()
            case "contentBlockStart":
                found = _event_decoder.decode(data)
                yield from self._start()
                yield from self._open(found.content_block_index, found.start or Start(), {}).begin()
            case "contentBlockStop":
                if (closed := self._blocks.pop(_event_decoder.decode(data).content_block_index, None)) is not None:
                    yield from closed.end()
            case "messageStop":
                found = _event_decoder.decode(data)
                yield from self._start()
                yield from self._end(_finished(found.stop_reason, found.additional_model_response_fields))
            case "metadata":
                if (usage := _event_decoder.decode(data).usage) is not None:
                    yield UsageReported(usage=usage.to_usage())
            case _ if (told := read_error(data)) is not None:
                raise _failed(told)

    def _start(self) -> Sequence[ChatEvent]:
        if self._has_started:
            return ()
        self._has_started = True
        return (_started(),)

    def _block(self, index: int | None, delta: dict[str, Any] | None) -> Block:
        """The block of that number; most begin with their first delta."""
        return self._blocks.get(index) or self._open(index, Start(), delta or {})

    def _open(self, index: int | None, start: Start, delta: dict[str, Any]) -> Block:
        """A block that begins so. What does not tell its kind does not keep that number from one that will."""
        block = open_block(start, delta, self._position)
        if block.is_known:
            self._blocks[index] = block
        return block

    def _end(self, finished: ChoiceFinished) -> Iterator[ChatEvent]:
        blocks, self._blocks = self._blocks, {}
        for block in blocks.values():
            yield from block.end()
        if not self._has_ended:
            self._has_ended = True
            yield finished


def _failed(told: str) -> BadGatewayError:
    return BadGatewayError(f"the upstream failed: {told}", reason="UPSTREAM_FAILED")
