"""Errors as Cohere writes them, whole and at the end of a stream, and what one means for trying elsewhere."""

from typing import Any

import msgspec

from gateway.config.snapshot import Failure
from gateway.schemas.openai.fields import UNREADABLE

_WORDS: tuple[tuple[str, Failure], ...] = (
    ("too many tokens", Failure.CONTEXT_LENGTH),
    ("context length", Failure.CONTEXT_LENGTH),
    ("context window", Failure.CONTEXT_LENGTH),
    ("rate limit", Failure.RATE_LIMITED),
    ("calls / minute", Failure.RATE_LIMITED),
    ("blocked output", Failure.CONTENT_FILTER),
    ("blocked input", Failure.CONTENT_FILTER),
    ("overloaded", Failure.OVERLOADED),
)


class _Delta(msgspec.Struct):
    error: str | None = None


class _Error(msgspec.Struct):
    """A body with a message, or the event that ends a stream that failed."""

    message: Any = None
    delta: _Delta | None = None


_decoder = msgspec.json.Decoder(_Error)


def read_error(body: bytes) -> str | None:
    """The text of an error body, or of the event that tells one; None if it is neither."""
    try:
        found = _decoder.decode(body)
    except UNREADABLE:
        return None
    if isinstance(found.message, str):
        return found.message
    return found.delta.error if found.delta is not None else None


def classify_error(body: bytes) -> Failure | None:
    """The class that the words of an error tell; there are no codes."""
    text = (read_error(body) or "").lower()
    return next((failure for words, failure in _WORDS if words in text), None)
