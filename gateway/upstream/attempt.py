"""One attempt: a request to one endpoint, up to the commit point, where its answer starts to go to the client."""

import asyncio
import re
from collections.abc import Sequence

import msgspec

from gateway.config.snapshot import RetryOn
from gateway.errors import (
    BadGatewayError,
    ErrorCode,
    GatewayError,
    RateLimitedError,
    TimeoutExceededError,
    UnavailableError,
    UpstreamRejectedError,
)
from gateway.framing.sse import EventTooLargeError, SseParser
from gateway.schemas.dialect import Dialect, EventKind
from gateway.transport.http import AnswerTooLargeError, ConnectError, ConnectionBrokenError, HttpResponse
from gateway.upstream.answer import Answer, AnswerStream, StreamAnswer, UnaryAnswer
from gateway.upstream.cluster import Cluster
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.retry import AttemptFailedError

_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_MAX_ERROR_BYTES = 1024 * 1024

# Longer waits than decades are nonsense that no client could represent.
_SECONDS = re.compile(r"\s*[0-9]{1,9}\s*")


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent to a backend, and how long each part may take. `deadline` is a time of the event loop's clock."""

    dialect: Dialect
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    is_streaming: bool
    connect_timeout_s: float
    first_content_timeout_s: float | None
    stream_idle_timeout_s: float
    deadline: float

    def __repr__(self) -> str:
        return f"<UpstreamRequest {self.path}>"  # headers hold a credential, the body what is nobody else's business


async def attempt(cluster: Cluster, endpoint: Endpoint, request: UpstreamRequest) -> Answer:
    """Sends the request to the endpoint and returns once its answer can be committed to.

    A unary answer is read whole, a streamed one up to its first content. Raises `AttemptFailedError` for what may be
    tried again and `UpstreamRejectedError` for what the backend refused for good.
    """
    endpoint.active_requests += 1
    answer: Answer | None = None
    try:
        if request.first_content_timeout_s is None:
            answer = await _send(cluster, endpoint, request)
        else:
            async with asyncio.timeout(request.first_content_timeout_s):
                answer = await _send(cluster, endpoint, request)
    except TimeoutError:
        limit = request.first_content_timeout_s
        error = TimeoutExceededError(f"no content from the upstream within {limit:g} s", reason="FIRST_TOKEN_TIMEOUT")
        raise AttemptFailedError(RetryOn.TIMEOUT, error) from None
    except ConnectError as error:
        raise AttemptFailedError(
            RetryOn.CONNECT_FAILURE,
            UnavailableError(f"the upstream cannot be reached: {error}", reason="UPSTREAM_UNREACHABLE"),
        ) from error
    except ConnectionBrokenError as error:
        raise _reset(f"the connection to the upstream broke: {error}") from error
    except AnswerTooLargeError as error:
        raise AttemptFailedError(None, BadGatewayError(str(error), reason="UPSTREAM_ANSWER_TOO_LARGE")) from None
    finally:
        # A stream counts as a request of its endpoint until it is closed.
        if not isinstance(answer, StreamAnswer):
            endpoint.active_requests -= 1
    return answer


async def _send(cluster: Cluster, endpoint: Endpoint, request: UpstreamRequest) -> Answer:
    response = await cluster.transport.send(
        "POST",
        endpoint.url(request.path),
        headers=request.headers,
        body=request.body,
        connect_timeout_s=request.connect_timeout_s,
    )
    is_kept = False
    try:
        if not 200 <= response.status < 300:
            raise await _status_error(response, request.dialect)
        if (response.header("content-encoding") or "identity").lower() != "identity":
            raise _reset("the upstream compressed its answer although it was asked not to")
        if request.is_streaming and (response.header("content-type") or "").lower().startswith("text/event-stream"):
            first = await _read_first_content(response, request.dialect)
            is_kept = True
            return _stream(response, endpoint, request, first)
        body = await response.read_all(_MAX_ANSWER_BYTES)
        if not body.lstrip().startswith(b"{"):
            raise _reset("the upstream's answer is not a JSON object")
        return UnaryAnswer(status=response.status, headers=response.headers, body=body)
    finally:
        if not is_kept:
            response.close()


def _stream(response: HttpResponse, endpoint: Endpoint, request: UpstreamRequest, first: bytes) -> StreamAnswer:
    rest = AnswerStream(
        response,
        endpoint,
        request.dialect,
        seen=first,
        idle_timeout_s=request.stream_idle_timeout_s,
        deadline=request.deadline,
    )
    return StreamAnswer(headers=response.headers, first=first, rest=rest)


async def _read_first_content(response: HttpResponse, dialect: Dialect) -> bytes:
    """The stream's bytes up to the read that brought the first content. What comes before it is held, so that an
    error there can still be retried unseen."""
    parser = SseParser()
    held = []
    while data := await response.read():
        held.append(data)
        if _has_content(parser, data, dialect):
            return b"".join(held)
    raise _reset("the upstream's stream ended before any content")


def _has_content(parser: SseParser, data: bytes, dialect: Dialect) -> bool:
    """Whether the data brings the first content. Events after it are not looked at."""
    try:
        for event in parser.feed(data):
            match dialect.classify_event(event.data, event.event):
                case EventKind.CONTENT:
                    return True
                case EventKind.ERROR:
                    error = BadGatewayError("the upstream's stream began with an error", reason="UPSTREAM_FAILED")
                    raise AttemptFailedError(RetryOn.GATEWAY_ERROR, error)
    except EventTooLargeError as fault:
        raise _reset(str(fault)) from None
    except ValueError as fault:
        raise _reset(f"the upstream's stream cannot be understood: {fault}") from None
    return False


async def _status_error(response: HttpResponse, dialect: Dialect) -> AttemptFailedError | UpstreamRejectedError:
    """The error for an answer whose status is not a success."""
    status = response.status
    if status < 200:
        return _reset(f"the upstream answered with status {status}, which nobody asked for")
    body = await _error_body(response)
    message = dialect.read_error(body)
    retry_after_s = parse_retry_after(response.header("retry-after"))
    if status < 400:
        text = f"the upstream answered with a redirect (status {status}), which is not followed"
        return AttemptFailedError(None, BadGatewayError(text))
    if status in (401, 403, 407):
        text = f"the upstream refused the gateway's credential (status {status}); check the service's secret"
        return AttemptFailedError(None, BadGatewayError(text, reason="UPSTREAM_AUTH_FAILED"))
    if status == 429:
        return AttemptFailedError(
            None,
            RateLimitedError(message or "the upstream asks to slow down", retry_after_s=retry_after_s),
        )
    if status < 500:
        code = {404: ErrorCode.NOT_FOUND, 413: ErrorCode.PAYLOAD_TOO_LARGE}.get(status, ErrorCode.INVALID_REQUEST)
        content_type = response.header("content-type") or "application/octet-stream"
        return UpstreamRejectedError(
            message or f"the upstream refused the request (status {status})",
            code=code,
            status=status,
            body=body if message is not None else None,
            content_type=content_type,
        )
    return AttemptFailedError(
        RetryOn.GATEWAY_ERROR if status in (502, 503, 504) else None,
        _server_error(status, message, retry_after_s),
    )


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
        case _:
            return BadGatewayError(text)


def parse_retry_after(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header; its date form, rare among model servers, is not read."""
    return float(value) if value is not None and _SECONDS.fullmatch(value) else None


def _reset(message: str) -> AttemptFailedError:
    return AttemptFailedError(RetryOn.RESET, BadGatewayError(message, reason="UPSTREAM_RESET"))
