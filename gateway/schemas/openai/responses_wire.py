"""OpenAI's responses as the data path relays them."""

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.config.snapshot import Failure
from gateway.schemas.dialect import EventKind
from gateway.schemas.openai import errors as openai_errors
from gateway.schemas.openai import fields as openai_fields
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.openai.wire import OpenAIDialect
from gateway.types import Usage

NAME = "openai_responses"

TERMINAL = ("response.completed", "response.incomplete", "response.failed")

# The last event has the whole answer and repeats the instructions and tools, so its start may be farther away; then
# the usage, which only it has, shows that it came.
_TAIL_BYTES = 64 * 1024

_MAX_TOKENS = 2**63 - 1
_DONE = b"[DONE]"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{\s*"input_tokens"\s*:\s*\d)')


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class UsageFields(msgspec.Struct):
    """Usage as it stands in a response; cached tokens are part of the input, reasoning part of the output."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    def to_usage(self) -> Usage:
        """The canonical usage."""
        read, written = self.input_tokens_details, self.output_tokens_details
        return Usage(
            input_tokens=_count(self.input_tokens),
            output_tokens=_count(self.output_tokens),
            cached_input_tokens=_count(read.cached_tokens if read else None),
            cache_creation_tokens=_count(read.cache_write_tokens if read else None),
            reasoning_tokens=_count(written.reasoning_tokens if written else None),
        )


def _count(tokens: int | None) -> int:
    return min(max(tokens or 0, 0), _MAX_TOKENS)


class _Response(msgspec.Struct):
    usage: UsageFields | None = None
    error: Any = None


class _Told(msgspec.Struct):
    """What an answer, or an event with an answer in it, tells of its cost."""

    usage: UsageFields | None = None
    response: _Response | None = None


class _Item(msgspec.Struct):
    type: str = ""


class _Event(msgspec.Struct):
    type: str = ""
    delta: Any = None
    item: _Item | None = None
    error: Any = None
    response: Any = None


class _EventType(msgspec.Struct):
    type: str = ""


class _ErrorEvent(msgspec.Struct):
    """An error, wherever it stands: in a body, in an event, in an answer that failed."""

    error: Any = None
    code: Any = None
    message: Any = None
    response: _Response | None = None


_told_decoder = msgspec.json.Decoder(_Told)
_event_decoder = msgspec.json.Decoder(_Event)
_type_decoder = msgspec.json.Decoder(_EventType)
_error_decoder = msgspec.json.Decoder(_ErrorEvent)
_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_json = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class OpenAIResponsesDialect(OpenAIDialect):
    """What differs from OpenAI's other operations."""

    posted_to: str = "/v1/responses"
    tail_bytes: int = _TAIL_BYTES

    def classify_event(self, data: bytes, event: str) -> EventKind:
        """Content is what has been said, an item that is complete, a call that begins, or the end."""
        if event == "error":
            return EventKind.ERROR
        if not data:
            return EventKind.PREAMBLE
        if data == _DONE:
            return EventKind.CONTENT
        try:
            found = _event_decoder.decode(data)
        except UNREADABLE as error:
            raise ValueError(str(error)) from None
        kind = found.type or event
        if kind in ("error", "response.failed") or (not kind and found.error is not None):
            return EventKind.ERROR
        if not kind:
            raise ValueError("an event without a type")
        return EventKind.CONTENT if _has_content(kind, found) else EventKind.PREAMBLE

    def is_complete(self, tail: bytes) -> bool:
        """The event at the end has the whole answer, which ended in one way or another."""
        data, is_cut = _end_of(tail)
        return _USAGE.search(data) is not None if is_cut else bool(data)

    def read_stream_usage(self, ends: bytes) -> Usage | None:
        """The usage of the event at the end."""
        data, is_cut = _end_of(ends)
        return _cut_usage(data) if is_cut else self.read_usage(data)

    def read_usage(self, body: bytes) -> Usage | None:
        """The usage of a whole answer, or of the event that has one."""
        try:
            told = _told_decoder.decode(body)
        except UNREADABLE:
            return None
        usage = told.usage or (told.response.usage if told.response is not None else None)
        return usage.to_usage() if usage is not None else None

    def classify_error(self, body: bytes) -> Failure | None:
        """The class that an error tells, in a body, in an event or in an answer that failed."""
        try:
            told = _error_decoder.decode(body)
        except UNREADABLE:
            return None
        error = told.error or (told.response.error if told.response is not None else None)
        if error is None:
            error = {"code": told.code, "message": told.message}
        return openai_errors.classify_error(msgspec.json.encode({"error": error}))

    def with_model(self, body: bytes, model: str) -> bytes:
        """The answer, or an event with one in it, with another `model`."""
        if b'"model"' not in body:
            return body
        try:
            fields = _raw_decoder.decode(body)
        except UNREADABLE:
            return body
        if "response" not in fields:
            return openai_fields.replace_model(body, model)
        fields["response"] = msgspec.Raw(openai_fields.replace_model(bytes(fields["response"]), model))
        return msgspec.json.encode(fields)


def _has_content(kind: str, event: _Event) -> bool:
    if kind.endswith(".delta"):
        return bool(event.delta)
    if kind == "response.output_item.added":
        # Text and thoughts are still to come; of a call its name is there.
        return event.item is not None and event.item.type not in ("message", "reasoning")
    return kind in TERMINAL or kind.endswith((".done", ".annotation.added"))


def _end_of(tail: bytes) -> tuple[bytes, bool]:
    """The data of the event that ends the answer, whatever a server sends after it, and whether its start is farther
    away than these bytes. Empty if it is not there."""
    for line in reversed(_LINE_END.split(tail)):
        if line.startswith(b"data:"):
            data = line[len(b"data:") :].strip()
            if data != _DONE and _is_terminal(data):
                return data, False
        elif line.endswith(b"}") and tail.endswith((b"\n", b"\r")):
            return line, True
    return b"", False


def _is_terminal(data: bytes) -> bool:
    try:
        return _type_decoder.decode(data).type in TERMINAL
    except UNREADABLE:
        return False


def _cut_usage(data: bytes) -> Usage | None:
    """The usage in data whose start is missing."""
    places = [found.end() for found in _USAGE.finditer(data)]
    if not places:
        return None
    try:
        usage, _ = _json.raw_decode(data[places[-1] :].decode("utf-8", "replace"))
        return msgspec.convert(usage, UsageFields).to_usage()
    except (ValueError, RecursionError, msgspec.ValidationError):
        return None
