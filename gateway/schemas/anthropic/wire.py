"""Anthropic's messages as the data path relays them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.config.snapshot import Failure
from gateway.framing.framing import SSE, Framing
from gateway.schemas.anthropic import errors as anthropic_errors
from gateway.schemas.anthropic.usage import UsageFields
from gateway.schemas.dialect import EventKind
from gateway.schemas.openai import fields as openai_fields
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.posted import PostedToOnePath
from gateway.types import Usage

NAME = "anthropic_messages"

# Only at the start of a line: in the text of an answer, which has no raw line ends, it means nothing.
_STOP_LINE = re.compile(rb'[\r\n](?:event: ?message_stop[\r\n]|data: ?\{"type": ?"message_stop")')
_STOP_EVENT_BYTES = 256
_DATA_LINE = re.compile(rb"^data: ?(\{.*\})\s*$", re.MULTILINE)


class _Message(msgspec.Struct):
    usage: UsageFields | None = None


class _Told(msgspec.Struct):
    """What an answer or an event tells of usage: the start of a stream has it in its `message`."""

    type: str = ""
    usage: UsageFields | None = None
    message: _Message | None = None


_told_decoder = msgspec.json.Decoder(_Told)
_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class AnthropicDialect(PostedToOnePath):
    """One operation of Anthropic's API."""

    framing: Framing = SSE
    headers: Sequence[tuple[str, str]] = (("anthropic-version", "2023-06-01"),)
    error_family: str = "anthropic"
    tail_bytes: int = 4096

    def classify_event(self, data: bytes, event: str) -> EventKind:
        """Content is text, thinking, a call, a block that comes whole, or a stop reason; an empty block is preamble."""
        if event == "error":
            return EventKind.ERROR
        if not data:
            return EventKind.PREAMBLE
        try:
            found = msgspec.json.decode(data)
        except UNREADABLE as error:
            raise ValueError(str(error)) from None
        match found:
            case {"type": "error"}:
                return EventKind.ERROR
            case {"type": str()}:
                return EventKind.CONTENT if _has_content(found) else EventKind.PREAMBLE
            case {"error": _}:
                return EventKind.ERROR
            case _:
                raise ValueError("an event without a type")

    def is_complete(self, tail: bytes) -> bool:
        """A stream ends with `message_stop`."""
        # Looking for the plain text first saves searching the whole tail with an expression.
        at = tail.rfind(b"message_stop")
        return at >= 0 and _STOP_LINE.search(tail, max(0, at - _STOP_EVENT_BYTES)) is not None

    def read_stream_usage(self, tail: bytes) -> Usage | None:
        """The usage at the end of a stream, with what its start told if that is among these bytes too.

        Of models that tell the input at the start only, a long stream's end gives the output alone.
        """
        if b"message_delta" not in tail:
            return None
        end: UsageFields | None = None
        for data in reversed(_DATA_LINE.findall(tail)):
            if b'"message_' not in data:
                continue
            match _told(data):
                case _Told(type="message_delta", usage=UsageFields() as usage) if end is None:
                    end = usage
                case _Told(type="message_start", message=_Message(usage=start)) if end is not None:
                    return end.after(start).to_usage()
        return end.to_usage() if end is not None else None

    def read_usage(self, body: bytes) -> Usage | None:
        """The usage of a whole answer."""
        told = _told(body)
        return told.usage.to_usage() if told is not None and told.usage is not None else None

    def read_error(self, body: bytes) -> str | None:
        """The message of `{"type": "error", …}`."""
        return anthropic_errors.read_error(body)

    def classify_error(self, body: bytes) -> Failure | None:
        """The class that an error's type or words tell."""
        return anthropic_errors.classify_error(body)

    def with_model(self, body: bytes, model: str) -> bytes:
        """The body with another `model`; of a stream only the event that starts it has one, in its `message`."""
        if b'"model"' not in body:
            return body
        if b'"message_start"' not in body:
            return openai_fields.replace_model(body, model)
        try:
            fields = _raw_decoder.decode(body)
        except UNREADABLE:
            return body
        if "message" not in fields:
            return openai_fields.replace_model(body, model)
        fields["message"] = msgspec.Raw(openai_fields.replace_model(bytes(fields["message"]), model))
        return msgspec.json.encode(fields)


def _has_content(event: dict[str, Any]) -> bool:
    match event:
        case {"type": "content_block_start", "content_block": {"type": "text" | "thinking"} as block}:
            return any(block.get(name) for name in ("text", "thinking", "signature"))
        case {"type": "content_block_start"} | {"type": "message_stop"}:
            return True
        case {"type": "content_block_delta", "delta": dict(delta)}:
            return any(value for name, value in delta.items() if name != "type")
        case {"type": "message_delta", "delta": {"stop_reason": str(reason)}}:
            return bool(reason)
        case _:
            return False


def _told(data: bytes) -> _Told | None:
    try:
        return _told_decoder.decode(data)
    except UNREADABLE:
        return None
