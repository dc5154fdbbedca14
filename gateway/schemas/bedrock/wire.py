"""Bedrock's Converse as the data path relays it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.config.snapshot import Failure
from gateway.framing.aws_event_stream import PRELUDE_BYTES, BadFrameError, frame_bytes, read_frame
from gateway.framing.framing import AWS_EVENT_STREAM, Framing
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.bedrock import errors as bedrock_errors
from gateway.schemas.bedrock.usage import UsageFields
from gateway.schemas.dialect import EventKind
from gateway.schemas.openai.fields import UNREADABLE
from gateway.types import Usage

NAME = "bedrock_converse"

# Beside the usage stands all that guardrails have found.
_TAIL_BYTES = 64 * 1024

# How far from the beginning of a frame the header that names it may begin.
_HEADERS_BYTES = 512


class _Told(msgspec.Struct):
    usage: UsageFields | None = None


class _Event(msgspec.Struct):
    delta: dict[str, Any] | None = None
    start: dict[str, Any] | None = None
    message: Any = None


_told_decoder = msgspec.json.Decoder(_Told)
_event_decoder = msgspec.json.Decoder(_Event)


@dataclass(frozen=True, slots=True)
class BedrockDialect:
    """The Converse operations of Bedrock's runtime API."""

    framing: Framing = AWS_EVENT_STREAM
    headers: Sequence[tuple[str, str]] = ()
    error_family: str = "bedrock"
    tail_bytes: int = _TAIL_BYTES

    def path(self, model: str, *, stream: bool) -> str:
        """The model, which may be an ARN, stands in the path."""
        return f"/model/{quote(model, safe='')}/{'converse-stream' if stream else 'converse'}"

    def with_request_model(self, body: bytes, asked: str, model: str) -> bytes:
        """As it is: the body names no model."""
        return body

    def classify_event(self, data: bytes, event: str) -> EventKind:
        """Content is the beginning of a block that has one, a delta that says something, or the stop reason."""
        if is_exception(event):
            return EventKind.ERROR
        try:
            found = _event_decoder.decode(data)
        except UNREADABLE as error:
            raise ValueError(str(error)) from None
        if isinstance(found.message, str):
            return EventKind.ERROR
        match event:
            case "messageStop":
                return EventKind.CONTENT
            case "contentBlockStart":
                return EventKind.CONTENT if found.start else EventKind.PREAMBLE
            case "contentBlockDelta":
                return EventKind.CONTENT if _says_something(found.delta) else EventKind.PREAMBLE
            case _:
                return EventKind.PREAMBLE

    def is_complete(self, tail: bytes) -> bool:
        """A stream ends with `messageStop`, and `metadata` after it."""
        return _last_event(tail, "metadata") is not None or _last_event(tail, "messageStop") is not None

    def read_stream_usage(self, ends: bytes) -> Usage | None:
        """The usage in `metadata`."""
        event = _last_event(ends, "metadata")
        return self.read_usage(event.data) if event is not None else None

    def read_usage(self, body: bytes) -> Usage | None:
        """The usage of a whole answer, or of the event that tells it."""
        try:
            usage = _told_decoder.decode(body).usage
        except UNREADABLE:
            return None
        return usage.to_usage() if usage is not None else None

    def read_error(self, body: bytes) -> str | None:
        """The text of `{"message": …}`."""
        return bedrock_errors.read_error(body)

    def classify_error(self, body: bytes) -> Failure | None:
        """The class that an error's type or words tell."""
        return bedrock_errors.classify_error(body)

    def with_model(self, body: bytes, model: str) -> bytes:
        """As it is: answers name no model."""
        return body


def is_exception(event: str) -> bool:
    """Whether an event of this name ends a stream that failed."""
    return event.endswith("Exception")


def _says_something(delta: dict[str, Any] | None) -> bool:
    match delta:
        case {"text": text}:
            return bool(text)
        case {"reasoningContent": dict(reasoning)}:
            return any(reasoning.values())
        case {"toolUse": {"input": given}}:
            return bool(given)
        case _:
            return bool(delta)


def _last_event(data: bytes, name: str) -> ServerSentEvent | None:
    """The last whole event of that name in bytes that may begin anywhere.

    Its name is looked for, which JSON cannot contain, and then the prelude before it, which has a check sum.
    """
    mark = b":event-type\x07" + len(name).to_bytes(2, "big") + name.encode()
    at = data.rfind(mark)
    while at >= 0:
        latest = at - 1 - PRELUDE_BYTES
        for start in range(latest, max(latest - _HEADERS_BYTES, 0) - 1, -1):
            if (event := _frame_at(data, start)) is not None:
                return event
        at = data.rfind(mark, 0, at)
    return None


def _frame_at(data: bytes, start: int) -> ServerSentEvent | None:
    length = frame_bytes(data, start)
    if length is None or start + length > len(data):
        return None
    try:
        return read_frame(data[start : start + length])
    except BadFrameError:
        return None
