"""Errors of Bedrock, whole and within a stream, and what such an error means for trying elsewhere."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.config.snapshot import Failure
from gateway.errors import ErrorCode
from gateway.schemas.openai.fields import UNREADABLE

_KINDS: Mapping[ErrorCode, str] = MappingProxyType(
    {
        ErrorCode.INVALID_REQUEST: "ValidationException",
        ErrorCode.PAYLOAD_TOO_LARGE: "ValidationException",
        ErrorCode.HEADERS_TOO_LARGE: "ValidationException",
        ErrorCode.UNSUPPORTED_MEDIA_TYPE: "ValidationException",
        ErrorCode.UNAUTHENTICATED: "AccessDeniedException",
        ErrorCode.PERMISSION_DENIED: "AccessDeniedException",
        ErrorCode.NOT_FOUND: "ResourceNotFoundException",
        ErrorCode.METHOD_NOT_ALLOWED: "ValidationException",
        ErrorCode.RATE_LIMITED: "ThrottlingException",
        ErrorCode.UNAVAILABLE: "ServiceUnavailableException",
        ErrorCode.BAD_GATEWAY: "InternalServerException",
        ErrorCode.TIMEOUT: "ModelTimeoutException",
        ErrorCode.INTERNAL: "InternalServerException",
    }
)
_MODEL_FAILED = 424
_WITHIN_STREAMS = frozenset(
    {"InternalServerException", "ThrottlingException", "ModelTimeoutException", "ServiceUnavailableException"}
)

_TYPES: Mapping[str, Failure] = MappingProxyType(
    {
        "throttlingexception": Failure.RATE_LIMITED,
        "servicequotaexceededexception": Failure.RATE_LIMITED,
        "serviceunavailableexception": Failure.OVERLOADED,
        "modelnotreadyexception": Failure.OVERLOADED,
        "modeltimeoutexception": Failure.TIMEOUT,
    }
)
_STATUSES: Mapping[int, Failure] = MappingProxyType(
    {429: Failure.RATE_LIMITED, 503: Failure.OVERLOADED, 529: Failure.OVERLOADED}
)

# Exceptions within a stream have their type beside the data, so that the words must tell. "Too many tokens" is what
# Bedrock says of a quota, not of a context.
_WORDS: tuple[tuple[str, Failure], ...] = (
    ("too long for requested model", Failure.CONTEXT_LENGTH),
    ("prompt is too long", Failure.CONTEXT_LENGTH),
    ("context length", Failure.CONTEXT_LENGTH),
    ("context window", Failure.CONTEXT_LENGTH),
    ("exceeds the maximum number of tokens", Failure.CONTEXT_LENGTH),
    ("too many requests", Failure.RATE_LIMITED),
    ("too many tokens", Failure.RATE_LIMITED),
    ("throttl", Failure.RATE_LIMITED),
    ("content filter", Failure.CONTENT_FILTER),
    ("unable to process your request", Failure.OVERLOADED),
    ("overloaded", Failure.OVERLOADED),
)


class _Error(msgspec.Struct):
    """What is told of an error; some services of AWS begin its name with a capital."""

    message: Any = None
    capital: Any = msgspec.field(default=None, name="Message")
    type: Any = msgspec.field(default=None, name="__type")
    original_message: Any = msgspec.field(default=None, name="originalMessage")
    original_status: Any = msgspec.field(default=None, name="originalStatusCode")

    @property
    def text(self) -> str | None:
        """The message, if it is an error."""
        told = next((each for each in (self.message, self.capital) if isinstance(each, str)), None)
        return told if told is not None or not isinstance(self.type, str) else "the upstream gave no message"


_decoder = msgspec.json.Decoder(_Error)


def error_kind(code: ErrorCode, status: int) -> str:
    """What Bedrock calls such an error, which has that HTTP status."""
    return "ModelErrorException" if status == _MODEL_FAILED else _KINDS[code]


def event_kind(code: ErrorCode) -> str:
    """The same as the type of an event: some kinds occur in streams, the rest is told as the nearest of them."""
    kind = _KINDS[code] if _KINDS[code] in _WITHIN_STREAMS else "ValidationException"
    return kind[0].lower() + kind[1:]


def read_error(body: bytes) -> str | None:
    """The text of `{"message": …}`; None for anything else."""
    error = _read(body)
    return error.text if error is not None else None


def classify_error(body: bytes) -> Failure | None:
    """The class of an error body, or of an exception's data, as far as it tells one."""
    error = _read(body)
    if error is None or error.text is None:
        return None
    if isinstance(error.type, str) and (known := _TYPES.get(error.type.rpartition("#")[2].lower())) is not None:
        return known
    if isinstance(error.original_status, int) and error.original_status in _STATUSES:
        return _STATUSES[error.original_status]
    text = f"{error.text} {error.original_message}".lower()
    return next((failure for words, failure in _WORDS if words in text), None)


def _read(body: bytes) -> _Error | None:
    try:
        return _decoder.decode(body)
    except UNREADABLE:
        return None
