"""Errors as Anthropic writes them, whole and within a stream, and what such an error means for trying elsewhere."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.config.snapshot import Failure
from gateway.errors import ErrorCode
from gateway.framing.sse import encode_event
from gateway.schemas.openai.fields import UNREADABLE

_TYPES: Mapping[ErrorCode, str] = MappingProxyType(
    {
        ErrorCode.INVALID_REQUEST: "invalid_request_error",
        ErrorCode.PAYLOAD_TOO_LARGE: "request_too_large",
        ErrorCode.HEADERS_TOO_LARGE: "request_too_large",
        ErrorCode.UNSUPPORTED_MEDIA_TYPE: "invalid_request_error",
        ErrorCode.UNAUTHENTICATED: "authentication_error",
        ErrorCode.PERMISSION_DENIED: "permission_error",
        ErrorCode.NOT_FOUND: "not_found_error",
        ErrorCode.METHOD_NOT_ALLOWED: "invalid_request_error",
        ErrorCode.RATE_LIMITED: "rate_limit_error",
        ErrorCode.UNAVAILABLE: "overloaded_error",
        ErrorCode.BAD_GATEWAY: "api_error",
        ErrorCode.TIMEOUT: "timeout_error",
        ErrorCode.INTERNAL: "api_error",
    }
)

_CLASSES: Mapping[str, Failure] = MappingProxyType(
    {
        "overloaded_error": Failure.OVERLOADED,
        "rate_limit_error": Failure.RATE_LIMITED,
        "timeout_error": Failure.TIMEOUT,
    }
)
_WORDS: tuple[tuple[str, Failure], ...] = (
    ("prompt is too long", Failure.CONTEXT_LENGTH),
    ("exceed context limit", Failure.CONTEXT_LENGTH),
    ("context window", Failure.CONTEXT_LENGTH),
    ("content filtering policy", Failure.CONTENT_FILTER),
    ("overloaded", Failure.OVERLOADED),
)


class _Error(msgspec.Struct):
    type: Any = None
    message: Any = None


class _ErrorBody(msgspec.Struct):
    type: str
    error: _Error


_decoder = msgspec.json.Decoder(_ErrorBody)


def error_body(code: ErrorCode, message: str, request_id: str | None = None) -> bytes:
    """`{"type": "error", "error": {"type", "message"}, "request_id"}`."""
    error = {"type": _TYPES[code], "message": message}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


def error_event(code: ErrorCode, message: str, request_id: str | None = None) -> bytes:
    """The same as the last event of a stream."""
    return encode_event(error_body(code, message, request_id), "error")


def read_error(body: bytes) -> str | None:
    """The message of an error body, or of an event's data; None if it is not one in Anthropic's form."""
    error = _read(body)
    if error is None:
        return None
    return error.message if isinstance(error.message, str) else "the upstream gave no message"


def classify_error(body: bytes) -> Failure | None:
    """The class of an error body, or of an event's data, as far as it tells one."""
    error = _read(body)
    if error is None:
        return None
    if isinstance(error.type, str) and error.type in _CLASSES:
        return _CLASSES[error.type]
    text = error.message.lower() if isinstance(error.message, str) else ""
    return next((failure for words, failure in _WORDS if words in text), None)


def _read(body: bytes) -> _Error | None:
    try:
        found = _decoder.decode(body)
    except UNREADABLE:
        return None
    return found.error if found.type == "error" else None
