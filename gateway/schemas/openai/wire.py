"""OpenAI's chat and embeddings formats as the data path relays them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.config.snapshot import Failure
from gateway.framing.framing import SSE, Framing
from gateway.schemas.dialect import EventKind
from gateway.schemas.openai import errors as openai_errors
from gateway.schemas.openai import fields as openai_fields
from gateway.schemas.posted import PostedToOnePath
from gateway.types import Usage

_DONE = b"[DONE]"
# At the start of a line: in the text of an answer, which has no raw line ends, it means nothing.
_DONE_PREFIX_BYTES = len(b"\ndata: ")
_DONE_LINE = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\]")
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"[^"]')
_DATA_LINE = re.compile(rb"^data: ?(\{.*\})\s*$", re.MULTILINE)


class _Delta(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None

    def has_content(self) -> bool:
        return bool(
            self.content
            or self.tool_calls
            or self.reasoning_content
            or self.reasoning
            or self.refusal
            or self.function_call
            or self.audio
        )


class _ChunkChoice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_ChunkChoice] | None = None
    error: Any = None
    usage: Any = None


_chunk_decoder = msgspec.json.Decoder(_Chunk)


@dataclass(frozen=True, slots=True)
class OpenAIDialect(PostedToOnePath):
    """One operation of OpenAI's API."""

    framing: Framing = SSE
    headers: Sequence[tuple[str, str]] = ()
    error_family: str = "openai"
    tail_bytes: int = 4096  # enough for the end mark and the usage chunk before it

    def with_usage_asked(self, body: bytes) -> bytes:
        """The request with `stream_options.include_usage`."""
        return openai_fields.ask_for_usage(body)

    def is_usage_alone(self, data: bytes) -> bool:
        """What asking for the usage adds to a stream is a chunk without choices at its end."""
        return openai_fields.is_usage_alone(data)

    def classify_event(self, data: bytes, event: str) -> EventKind:
        """Content is text, reasoning, a refusal, a tool call or a finish reason; a role alone is preamble."""
        if event == "error":
            return EventKind.ERROR
        if not data:
            return EventKind.PREAMBLE
        if data == _DONE:
            return EventKind.CONTENT
        try:
            chunk = _chunk_decoder.decode(data)
        except openai_fields.UNREADABLE as error:
            raise ValueError(str(error)) from None
        if chunk.error is not None:
            return EventKind.ERROR
        for choice in chunk.choices or ():
            if choice.finish_reason or (choice.delta and choice.delta.has_content()):
                return EventKind.CONTENT
        return EventKind.PREAMBLE

    def is_complete(self, tail: bytes) -> bool:
        """A stream ends with `[DONE]`; some servers leave it out after a finish reason."""
        # Looking for the plain text first saves searching the whole tail with an expression.
        at = tail.rfind(_DONE)
        if at >= 0 and _DONE_LINE.search(tail, max(0, at - _DONE_PREFIX_BYTES)) is not None:
            return True
        return _FINISHED.search(tail) is not None

    def read_stream_usage(self, ends: bytes) -> Usage | None:
        """The usage of the last chunk that has one."""
        at = ends.rfind(b'"usage"')
        while at >= 0:
            begin = ends.rfind(b"\n", 0, at) + 1
            line = _DATA_LINE.match(ends, begin)
            if line is not None and (usage := openai_fields.read_usage(line[1])) is not None:
                return usage
            at = ends.rfind(b'"usage"', 0, begin)
        return None

    def read_usage(self, body: bytes) -> Usage | None:
        """The usage of a whole answer."""
        return openai_fields.read_usage(body)

    def read_error(self, body: bytes) -> str | None:
        """The message of `{"error": …}`."""
        return openai_fields.read_error(body)

    def classify_error(self, body: bytes) -> Failure | None:
        """The class that an error's code, type or words tell."""
        return openai_errors.classify_error(body)

    def with_model(self, body: bytes, model: str) -> bytes:
        """The body, or event data, with another `model`."""
        return body if body == _DONE else openai_fields.replace_model(body, model)
