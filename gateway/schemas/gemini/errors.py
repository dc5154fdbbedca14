"""Errors in Gemini's form, `{"error": {"code": …, "message": …, "status": …}}`: what they say, and mean for trying
elsewhere. In the answer to a request for a stream that is no stream of events they stand in an array."""

from typing import Any

import msgspec

from gateway.config.snapshot import Failure
from gateway.schemas.openai.fields import UNREADABLE

_STATUSES = {"RESOURCE_EXHAUSTED": Failure.RATE_LIMITED, "UNAVAILABLE": Failure.OVERLOADED}
_WORDS = (
    ("exceeds the maximum number of tokens", Failure.CONTEXT_LENGTH),
    ("input token count", Failure.CONTEXT_LENGTH),
    ("overloaded", Failure.OVERLOADED),
)


class _ErrorFields(msgspec.Struct):
    message: Any = None
    status: Any = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorFields


_decoder = msgspec.json.Decoder(_ErrorBody)
_array_decoder = msgspec.json.Decoder(list[_ErrorBody])


def read_error(body: bytes) -> str | None:
    """The message of an error body, or None if it is not one in Gemini's form."""
    error = _read(body)
    if error is None:
        return None
    return error.message if isinstance(error.message, str) else "the upstream gave no message"


def classify_error(body: bytes) -> Failure | None:
    """The class of an error body, or event, as far as it tells one."""
    error = _read(body)
    if error is None:
        return None
    text = error.message.lower() if isinstance(error.message, str) else ""
    told = next((failure for words, failure in _WORDS if words in text), None)
    return told or (_STATUSES.get(error.status) if isinstance(error.status, str) else None)


def _read(body: bytes) -> _ErrorFields | None:
    try:
        if body.lstrip().startswith(b"["):
            return next((each.error for each in _array_decoder.decode(body)), None)
        return _decoder.decode(body).error
    except UNREADABLE:
        return None
