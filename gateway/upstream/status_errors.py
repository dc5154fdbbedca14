"""What an answer that is not a success means: the error for the client, and whether trying elsewhere may help."""

import re

from gateway.config.snapshot import Failure
from gateway.errors import (
    BadGatewayError,
    ErrorCode,
    GatewayError,
    InvalidRequestError,
    RateLimitedError,
    TimeoutExceededError,
    UnavailableError,
    UpstreamRejectedError,
)
from gateway.schemas.dialect import ErrorReader
from gateway.transport.http import AnswerTooLargeError, HttpResponse
from gateway.upstream.retry import AttemptFailedError

_MAX_ERROR_BYTES = 1024 * 1024

# Longer waits than decades are nonsense that no client could represent.
_SECONDS = re.compile(r"\s*[0-9]{1,9}\s*")

_OVERLOADED = 529  # not registered; Anthropic's, and others' after it


def reset(message: str) -> AttemptFailedError:
    """The connection broke, or what came over it cannot be used."""
    return AttemptFailedError(BadGatewayError(message, reason="UPSTREAM_RESET"), Failure.RESET)


def event_error(data: bytes, dialect: ErrorReader) -> AttemptFailedError:
    """The error for a stream that begins with one."""
    return _told_error("the upstream's stream began with an error", data, dialect)


def answer_error(body: bytes, dialect: ErrorReader) -> AttemptFailedError | None:
    """The error for a whole answer that is one although its status says success; None if it is none."""
    if dialect.read_error(body) is None:
        return None
    return _told_error("the upstream answered with an error under a status of success", body, dialect)


def _told_error(what: str, data: bytes, dialect: ErrorReader) -> AttemptFailedError:
    failure = dialect.classify_error(data) or Failure.GATEWAY_ERROR
    message = dialect.read_error(data)
    text = what + (f": {message}" if message else "")
    error: GatewayError
    match failure:
        case Failure.RATE_LIMITED:
            error = RateLimitedError(text)
        case Failure.OVERLOADED:
            error = UnavailableError(text, reason="UPSTREAM_OVERLOADED")
        case Failure.CONTEXT_LENGTH | Failure.CONTENT_FILTER:
            error = InvalidRequestError(text, reason=failure.name)
        case _:
            error = BadGatewayError(text)
    return AttemptFailedError(error, failure)


async def status_error(response: HttpResponse, dialect: ErrorReader) -> AttemptFailedError | UpstreamRejectedError:
    """The error for an answer whose status is not a success."""
    status = response.status
    if status < 200:
        return reset(f"the upstream answered with status {status}, which nobody asked for")
    body = await _error_body(response)
    message = dialect.read_error(body)
    told = dialect.classify_error(body)
    retry_after_s = parse_retry_after(response.header("retry-after"))
    if status < 400:
        text = f"the upstream answered with a redirect (status {status}), which is not followed"
        return AttemptFailedError(BadGatewayError(text))
    if status in (401, 403, 407):
        text = f"the upstream refused the gateway's credential (status {status}); check the service's secret"
        failure = Failure.PERMISSION_DENIED if status == 403 else Failure.UNAUTHENTICATED
        return AttemptFailedError(BadGatewayError(text, reason="UPSTREAM_AUTH_FAILED"), failure)
    if status == 429:
        text = message or "the upstream asks to slow down"
        return AttemptFailedError(RateLimitedError(text, retry_after_s=retry_after_s), Failure.RATE_LIMITED)
    if status < 500:
        content_type = response.header("content-type") or "application/octet-stream"
        return _rejection(status, message, body, content_type, told, dialect.error_family)
    return AttemptFailedError(_server_error(status, message, retry_after_s), *_server_failures(status, told))


def _rejection(
    status: int, message: str | None, body: bytes, content_type: str, told: Failure | None, family: str
) -> AttemptFailedError | UpstreamRejectedError:
    code = {404: ErrorCode.NOT_FOUND, 408: ErrorCode.TIMEOUT, 413: ErrorCode.PAYLOAD_TOO_LARGE}.get(status)
    rejection = UpstreamRejectedError(
        message or f"the upstream refused the request (status {status})",
        code=code or ErrorCode.INVALID_REQUEST,
        status=status,
        body=body if message is not None else None,
        content_type=content_type,
        family=family,
    )
    if status == 408:
        return AttemptFailedError(rejection, Failure.TIMEOUT)
    return AttemptFailedError(rejection, told) if told is not None else rejection


def _server_failures(status: int, told: Failure | None) -> list[Failure]:
    """The classes of a status from 500 on, the most telling first."""
    failures = [told] if told is not None else []
    if status in (502, 503, 504):
        failures.append(Failure.GATEWAY_ERROR)
    if status in (503, _OVERLOADED):
        failures.append(Failure.OVERLOADED)
    return [*failures, Failure.SERVER_ERROR]


async def _error_body(response: HttpResponse) -> bytes:
    """What an upstream says of its error; nothing if it says too much, for the status is there."""
    try:
        return await response.read_all(_MAX_ERROR_BYTES)
    except AnswerTooLargeError:
        return b""


def _server_error(status: int, message: str | None, retry_after_s: float | None) -> GatewayError:
    text = f"the upstream failed (status {status})" + (f": {message}" if message else "")
    match status:
        case 503:
            return UnavailableError(text, reason="UPSTREAM_UNAVAILABLE", retry_after_s=retry_after_s)
        case 504:
            return TimeoutExceededError(text, reason="UPSTREAM_TIMEOUT")
        case _ if status == _OVERLOADED:
            return UnavailableError(text, reason="UPSTREAM_OVERLOADED", retry_after_s=retry_after_s)
        case _:
            return BadGatewayError(text)


def parse_retry_after(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header; its date form, rare among model servers, is not read."""
    return float(value) if value is not None and _SECONDS.fullmatch(value) else None
