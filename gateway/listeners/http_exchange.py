"""One HTTP request and the answer to it: reading the body, starting, streaming and failing the answer."""

from typing import Protocol

from gateway.context import RequestContext
from gateway.errors import FixedAnswerError, GatewayError, PayloadTooLargeError, UnsupportedMediaTypeError
from gateway.listeners.disconnect import ClientGoneError, Receive, Send
from gateway.listeners.errors import ErrorAnswer
from gateway.listeners.unread_body import EndAfterBody
from gateway.upstream.answer import RawHeaders, UpstreamStreamError

# Connection headers, what Janua says itself, and what belongs between Janua and the backend.
_NOT_RELAYED = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"content-length", b"content-encoding", b"date", b"server",
        b"set-cookie", b"alt-svc", b"x-request-id", b"x-accel-buffering", b"cache-control",
    }
)  # fmt: skip
_FOR_ORIGINS = b"access-control-"
_NOT_RELAYED_PREFIXES = (b"x-janua-", _FOR_ORIGINS)


class ErrorFormat(Protocol):
    """How errors look in the dialect of a path."""

    def answer(self, error: GatewayError) -> ErrorAnswer:
        """The error as a whole answer."""

    def event(self, error: GatewayError) -> bytes | None:
        """The error as the last event of a stream; None where streams have no place for it."""


class AnswerSink(Protocol):
    """Where the answer to a request is written: to its client, or to a recording of it."""

    @property
    def context(self) -> RequestContext:
        """What is known of the request."""

    @property
    def send(self) -> Send:
        """Takes a part of a streamed body, as ASGI has it."""

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """A whole answer."""

    async def start_stream(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begins an answer whose body follows."""

    async def send_part(self, data: bytes, *, is_last: bool = False) -> None:
        """A part of a streamed body."""


class HttpExchange:
    """One request and the answer to it."""

    def __init__(
        self, context: RequestContext, receive: Receive, send: Send, errors: ErrorFormat, *, max_body_bytes: int
    ) -> None:
        self.context = context
        self.receive = receive
        self.send = send
        self.status = 0
        self._errors = errors
        self._max_body_bytes = max_body_bytes
        self.is_stream = False

    def end_after_body(self) -> None:
        """Has the answer end only after the request's body, which has not been read."""
        self.send = EndAfterBody(self.receive, self.send)

    async def read_body(self) -> bytes:
        """The whole body. Raises `PayloadTooLargeError` over the limit, before reading where the length is told, and
        `UnsupportedMediaTypeError` for one that is compressed."""
        try:
            check_not_compressed(self.context)
        except UnsupportedMediaTypeError:
            self.end_after_body()
            raise
        length = self.context.headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            self.end_after_body()
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part: bytes = message.get("body", b"")
            size += len(part)
            is_last = not message.get("more_body", False)
            if size > self._max_body_bytes:
                if not is_last:
                    self.end_after_body()
                raise self._too_large()
            parts.append(part)
            if is_last:
                body = b"".join(parts)
                self.context.body_size = body.__len__
                return body

    def _too_large(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(f"the body is larger than the limit of {self._max_body_bytes} bytes")

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Sends a whole answer."""
        await self._start(status, headers, len(body))
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def start_stream(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begins an answer whose body follows with `send_part`."""
        self.is_stream = True
        await self._start(status, headers, None)

    async def send_part(self, data: bytes, *, is_last: bool = False) -> None:
        """A part of a streamed body."""
        await self.send({"type": "http.response.body", "body": data, "more_body": not is_last})

    async def fail(self, error: GatewayError) -> None:
        """Sends an error: as the answer, or within a stream that has begun as its last event, unless the backend's own
        has been that."""
        if self.status:
            event = b"" if isinstance(error, UpstreamStreamError) else self._errors.event(error)
            if self.is_stream and event is not None:
                await self.send_part(event, is_last=True)
            return
        answer = error_answer(error, self._errors)
        await self.answer(answer.status, answer.all_headers(), answer.body)

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]], length: int | None) -> None:
        context = self.context
        self.status = status
        if length is not None and status != 204 and all(name != b"content-length" for name, _ in headers):
            headers.append((b"content-length", b"%d" % length))
        if (edits := context.answer_edits) is not None:
            headers = edits.headers.apply(headers)
        if context.answer_headers:
            # Not what a backend says of limits of its own; what its answer varies by holds beside ours.
            told = {name for name, _ in context.answer_headers if name != b"vary"}
            headers = [header for header in headers if header[0] not in told]
        if context.answers_for_origins:
            headers = [header for header in headers if not header[0].startswith(_FOR_ORIGINS)]
        headers += own_headers(context)
        await self.send({"type": "http.response.start", "status": status, "headers": headers})


def check_not_compressed(context: RequestContext) -> None:
    """Raises `UnsupportedMediaTypeError` for a body that would have to be unpacked to be read."""
    encoding = context.headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise UnsupportedMediaTypeError("compressed bodies are not taken: send it without content-encoding")


def error_answer(error: GatewayError, errors: ErrorFormat) -> ErrorAnswer:
    """What is answered to a request that ends so."""
    if isinstance(error, FixedAnswerError):
        return ErrorAnswer(error.status, None, error.body, headers=error.headers)
    return errors.answer(error)


def own_headers(context: RequestContext) -> list[tuple[bytes, bytes]]:
    """What the node itself says of a request: its id, who answered it, and the cookie for the next one."""
    headers = [(b"x-request-id", context.request_id.encode())]
    if context.route:
        headers.append((b"x-janua-route", context.route.encode()))
    if context.service:
        headers.append((b"x-janua-service", context.service.encode()))
    if context.endpoint:
        headers.append((b"x-janua-endpoint", context.endpoint.encode()))
        headers.append((b"x-janua-attempts", b"%d" % context.attempts))
    headers += context.answer_headers
    if context.sticky_cookie is not None:
        headers.append((b"set-cookie", b"%s=%s; Path=/; HttpOnly" % tuple(map(str.encode, context.sticky_cookie))))
    return headers


def relayed_headers(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The backend's end-to-end headers."""
    lowered = [(name.lower(), value) for name, value in headers]
    of_connection = {
        nominated.strip().lower() for name, value in lowered if name == b"connection" for nominated in value.split(b",")
    }
    dropped = _NOT_RELAYED | of_connection if of_connection else _NOT_RELAYED
    return [
        (name, value) for name, value in lowered if name not in dropped and not name.startswith(_NOT_RELAYED_PREFIXES)
    ]
