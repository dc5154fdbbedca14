"""Cohere's API, version 2, as the data path relays it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.config.snapshot import Failure
from gateway.framing.framing import SSE, Framing
from gateway.schemas.cohere import errors as cohere_errors
from gateway.schemas.cohere.usage import UsageFields
from gateway.schemas.dialect import EventKind
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.posted import PostedToOnePath
from gateway.types import Usage

NAME = "cohere_chat"
DONE = b"[DONE]"
"""The last line of a stream, which some servers leave out."""

FAILED = frozenset({"ERROR", "TIMEOUT"})
"""Reasons to finish that say that there is no answer."""

_END = "message-end"


class _Delta(msgspec.Struct):
    error: Any = None
    finish_reason: str | None = None
    usage: UsageFields | None = None
    message: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: _Delta | None = None
    message: Any = None


class _Answer(msgspec.Struct):
    usage: UsageFields | None = None
    meta: UsageFields | None = None


_event_decoder = msgspec.json.Decoder(_Event)
_answer_decoder = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class CohereDialect(PostedToOnePath):
    """One operation of Cohere's API."""

    framing: Framing = SSE
    headers: Sequence[tuple[str, str]] = ()
    error_family: str = "cohere"
    tail_bytes: int = 4096

    def classify_event(self, data: bytes, event: str) -> EventKind:
        """Content is text, thinking, a plan, a call, a source or the end; an empty block is preamble."""
        if not data:
            return EventKind.PREAMBLE
        if data == DONE:
            return EventKind.CONTENT
        try:
            found = _event_decoder.decode(data)
        except UNREADABLE as error:
            raise ValueError(str(error)) from None
        kind = found.type or event
        if kind == "error" or isinstance(found.message, str):
            return EventKind.ERROR
        delta = found.delta or _Delta()
        if kind == _END:
            return EventKind.ERROR if delta.error or delta.finish_reason in FAILED else EventKind.CONTENT
        return EventKind.CONTENT if _has_content(kind, delta.message) else EventKind.PREAMBLE

    def is_complete(self, tail: bytes) -> bool:
        """A stream ends with `message-end`."""
        return _end_of(tail) is not None

    def read_stream_usage(self, ends: bytes) -> Usage | None:
        """The usage at the end of a stream."""
        end = _end_of(ends)
        return end.usage.to_usage() if end is not None and end.usage is not None else None

    def read_usage(self, body: bytes) -> Usage | None:
        """The usage of a whole answer; beside vectors it stands in `meta`."""
        try:
            answer = _answer_decoder.decode(body)
        except UNREADABLE:
            return None
        usage = answer.usage or answer.meta
        return usage.to_usage() if usage is not None else None

    def read_error(self, body: bytes) -> str | None:
        """The text of `{"message": …}`."""
        return cohere_errors.read_error(body)

    def classify_error(self, body: bytes) -> Failure | None:
        """The class that the words of an error tell."""
        return cohere_errors.classify_error(body)

    def with_model(self, body: bytes, model: str) -> bytes:
        """As it is: answers name no model."""
        return body


def _has_content(kind: str, message: object) -> bool:
    match message:
        case {"content": dict(content)} if kind.startswith("content-"):
            return bool(content.get("text") or content.get("thinking"))
        case {"tool_plan": str(plan)} if kind == "tool-plan-delta":
            return bool(plan)
        case {"tool_calls": {"function": {"arguments": str(arguments)}}} if kind == "tool-call-delta":
            return bool(arguments)
        case _:
            return kind in ("tool-call-start", "citation-start")


def _end_of(tail: bytes) -> _Delta | None:
    """What the event that ends a stream tells, if it is among these bytes."""
    at = tail.rfind(_END.encode())  # saves reading lines of a stream that goes on
    if at < 0:
        return None
    lines = tail.splitlines()
    for line, before in zip(reversed(lines), [*reversed(lines[:-1]), b""], strict=True):
        if not line.startswith(b"data:"):
            continue
        try:
            found = _event_decoder.decode(line[len(b"data:") :])
        except UNREADABLE:
            continue
        if found.type == _END or (not found.type and before.startswith(b"event:") and before.endswith(_END.encode())):
            return found.delta or _Delta()
    return None
