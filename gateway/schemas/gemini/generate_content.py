"""Gemini's `generateContent` as a dialect: relayed as it is, and translated."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from gateway.config.snapshot import Failure
from gateway.framing.framing import SSE, Framing
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.dialect import EventKind
from gateway.schemas.gemini import answer as gemini_answer
from gateway.schemas.gemini import encoder as gemini_encoder
from gateway.schemas.gemini import errors as gemini_errors
from gateway.schemas.gemini import request as gemini_request
from gateway.schemas.gemini import request_encoder as gemini_request_encoder
from gateway.schemas.gemini.answer import AnswerDecoder
from gateway.schemas.gemini.usage import UsageFields
from gateway.schemas.openai.fields import UNREADABLE
from gateway.types import ChatEvent, ChatRequest, Usage

# Behind the reason to finish may stand all that a search has found.
_TAIL_BYTES = 64 * 1024

_FINISHED = re.compile(rb'"(?:finishReason|blockReason)"\s*:\s*(?:"(?!FINISH_REASON_UNSPECIFIED)[A-Z]|[1-9])')
_USAGE = b'"usageMetadata"'
_WITHOUT_CONTENT = frozenset({"text", "thought", "thoughtSignature"})

_json = json.JSONDecoder()


class _Content(msgspec.Struct):
    parts: list[dict[str, msgspec.Raw]] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: Any = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: Any = None


class _Piece(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    error: Any = None


class _WithUsage(msgspec.Struct, rename="camel"):
    usage_metadata: UsageFields | None = None


_piece_decoder = msgspec.json.Decoder(_Piece)
_usage_decoder = msgspec.json.Decoder(_WithUsage)
_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class GeminiGenerateContent:
    """See `ChatDialect`."""

    name: str = gemini_request.NAME
    framing: Framing = SSE
    headers: Sequence[tuple[str, str]] = ()
    error_family: str = "gemini"
    tail_bytes: int = _TAIL_BYTES

    def path(self, model: str, *, stream: bool) -> str:
        """The model and the method stand in the path."""
        name = quote(model.removeprefix("models/"), safe="")
        return f"/v1beta/models/{name}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"

    def with_request_model(self, body: bytes, asked: str, model: str) -> bytes:
        """As it is: the path names the model. A body that does too, which Google does not mind, names the same."""
        return name_model(body, model)

    def classify_event(self, data: bytes, event: str) -> EventKind:
        """Content is a part that says something, or the end."""
        if not data:
            return EventKind.PREAMBLE
        try:
            piece = _piece_decoder.decode(data)
        except UNREADABLE as error:
            raise ValueError(str(error)) from None
        if piece.error is not None:
            return EventKind.ERROR
        if piece.prompt_feedback is not None and piece.prompt_feedback.block_reason:
            return EventKind.CONTENT
        return EventKind.CONTENT if any(map(_has_content, piece.candidates or ())) else EventKind.PREAMBLE

    def is_complete(self, tail: bytes) -> bool:
        """The last piece says why the answer ended."""
        return _FINISHED.search(tail) is not None

    def read_stream_usage(self, tail: bytes) -> Usage | None:
        """The usage of the last piece, however much else stands in it."""
        at = tail.rfind(_USAGE)
        if at < 0:
            return None
        text = tail[at + len(_USAGE) :].decode("utf-8", "replace").lstrip(" \t\r\n:")
        try:
            found, _ = _json.raw_decode(text)
            return msgspec.convert(found, UsageFields).to_usage()
        except (ValueError, RecursionError):  # msgspec's errors are values that are wrong
            return None

    def read_usage(self, body: bytes) -> Usage | None:
        """The usage of a whole answer."""
        try:
            usage = _usage_decoder.decode(body).usage_metadata
        except UNREADABLE:
            return None
        return usage.to_usage() if usage else None

    def read_error(self, body: bytes) -> str | None:
        """The message of `{"error": {…}}`."""
        return gemini_errors.read_error(body)

    def classify_error(self, body: bytes) -> Failure | None:
        """The class that an error's status or words tell."""
        return gemini_errors.classify_error(body)

    def with_model(self, body: bytes, model: str) -> bytes:
        """The answer, or piece, with another `modelVersion`, if it has one."""
        try:
            fields = _raw_decoder.decode(body)
        except UNREADABLE:
            return body
        if "modelVersion" not in fields:
            return body
        fields["modelVersion"] = msgspec.Raw(msgspec.json.encode(model))
        return msgspec.json.encode(fields)

    def decode_request(self, body: bytes, model: str) -> ChatRequest:
        """JSON to canonical."""
        return gemini_request.decode_request(body, model)

    def encode_request(self, request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        return gemini_request_encoder.encode_request(request, model, drop_unsupported=drop_unsupported)

    def decode_answer(self, body: bytes) -> Sequence[ChatEvent]:
        """A whole answer to events."""
        return gemini_answer.decode_answer(body)

    def event_decoder(self) -> AnswerDecoder:
        """For one stream."""
        return AnswerDecoder()

    def encode_answer(self, events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
        """Events to a whole answer."""
        return gemini_encoder.encode_answer(events, settings)

    def event_encoder(self, settings: AnswerSettings) -> gemini_encoder.PieceEncoder:
        """For one stream."""
        return gemini_encoder.PieceEncoder(settings)


def name_model(body: bytes, model: str) -> bytes:
    """The body with that `model`, if it has one; as it is otherwise."""
    if b'"model"' not in body and b"\\u006" not in body:  # the name may be written with escapes
        return body
    try:
        fields = _raw_decoder.decode(body)
    except UNREADABLE:
        return body
    if "model" not in fields:
        return body
    fields["model"] = msgspec.Raw(msgspec.json.encode(f"models/{model.removeprefix('models/')}"))
    return msgspec.json.encode(fields)


def _has_content(candidate: _Candidate) -> bool:
    if candidate.finish_reason:
        return True
    parts = (candidate.content.parts if candidate.content else None) or ()
    return any(part.keys() - _WITHOUT_CONTENT or bytes(part.get("text", b"")) not in (b"", b'""') for part in parts)
