"""The inference paths over HTTP, as an ASGI layer before the web framework: which model a path serves comes from the
configuration, not from a table of handlers, and the framework's own dispatch would cost more than the whole relay."""

import asyncio
import time
from collections.abc import Mapping

import msgspec
import structlog

from gateway.context import RequestContext
from gateway.errors import GatewayError, MethodNotAllowedError, PayloadTooLargeError
from gateway.framing.sse import encode_event
from gateway.listeners.disconnect import AsgiApp, CancelOnDisconnect, ClientGoneError, Receive, Scope, Send
from gateway.listeners.errors import ErrorAnswer, internal_error, openai_error, openai_error_body
from gateway.listeners.inbound import host_name, join_headers, request_id
from gateway.listeners.service import GatewayService
from gateway.listeners.sse import EventRelay, RenamedEvents, WholeEvents
from gateway.listeners.unread_body import EndAfterBody, WithoutBody
from gateway.pipeline import Exchange
from gateway.schemas.openai_fields import RequestHead, read_request, set_request_model, without_duplicate_model
from gateway.types import Operation, Schema
from gateway.upstream.answer import RawHeaders, StreamAnswer, UnaryAnswer

OPERATIONS: Mapping[str, Operation] = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/embeddings": Operation.EMBEDDINGS,
}

# Connection headers, what Janua says itself, and what belongs between Janua and the backend.
_NOT_RELAYED = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"content-length", b"content-encoding", b"date", b"server",
        b"set-cookie", b"alt-svc", b"x-request-id", b"x-accel-buffering", b"cache-control",
        b"access-control-allow-origin",
    }
)  # fmt: skip

_CLIENT_GONE = "499"

_log = structlog.get_logger("janua.http")


class OpenAIBody(msgspec.Struct, frozen=True):
    """A request in OpenAI's format, passed through byte for byte as long as nothing must be changed."""

    body: bytes
    head: RequestHead

    def encode(self, schema: Schema, model: str) -> bytes:
        """The body with that model; the same bytes if it names it already."""
        match schema:
            case Schema.OPENAI:
                if model == self.head.model:
                    return without_duplicate_model(self.body, model)
                return set_request_model(self.body, model)


class DataPlane:
    """Handles inference paths and hands everything else to the application."""

    def __init__(self, app: AsgiApp, service: GatewayService, *, max_body_bytes: int) -> None:
        self._app = WithoutBody(app)
        self._service = service
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        operation = OPERATIONS.get(scope.get("path", ""))
        if scope["type"] != "http" or operation is None:
            await self._app(scope, receive, send)
            return
        service = self._service
        service.active_requests += 1
        context = _context(scope, operation)
        exchange = HttpExchange(context, send)
        try:
            await self._handle(scope, receive, exchange)
        except ClientGoneError:
            service.settle(context, _CLIENT_GONE, "CLIENT_GONE")
        except GatewayError as error:
            await exchange.fail(error)
            service.settle(context, str(exchange.status), error.reason)
        except asyncio.CancelledError:
            service.settle(context, _CLIENT_GONE, "CANCELLED")
            raise
        except Exception:
            _log.exception("request failed", request_id=context.request_id)
            await exchange.fail(internal_error(context.request_id))
            service.settle(context, str(exchange.status), "INTERNAL")
        else:
            service.settle(context, str(exchange.status))
        finally:
            service.active_requests -= 1

    async def _handle(self, scope: Scope, receive: Receive, exchange: "HttpExchange") -> None:
        context = exchange.context
        if scope["method"] != "POST":
            exchange.end_after_body(receive)
            raise MethodNotAllowedError(f"{context.path} takes POST, not {context.method}")
        body = await self._read_body(receive, exchange)
        head = read_request(body)
        context.model = head.model
        context.is_streaming = bool(head.stream) and context.operation is Operation.CHAT
        pipeline = self._service.pin()
        plan = pipeline.route(context)
        async with CancelOnDisconnect(receive):
            answer = await pipeline.call(context, plan, OpenAIBody(body, head))
            context.first_content_at = time.perf_counter()
            await exchange.relay(answer)

    async def _read_body(self, receive: Receive, exchange: "HttpExchange") -> bytes:
        """The whole body. Raises `PayloadTooLargeError` over the limit, before reading where the length is told."""
        length = exchange.context.headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            exchange.end_after_body(receive)
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part: bytes = message.get("body", b"")
            size += len(part)
            is_last = not message.get("more_body", False)
            if size > self._max_body_bytes:
                if not is_last:
                    exchange.end_after_body(receive)
                raise self._too_large()
            parts.append(part)
            if is_last:
                return b"".join(parts)

    def _too_large(self) -> PayloadTooLargeError:
        return PayloadTooLargeError(f"the body is larger than the limit of {self._max_body_bytes} bytes")


class HttpExchange:
    """One request and the answer to it, as far as that has been sent."""

    def __init__(self, context: RequestContext, send: Send) -> None:
        self.context = context
        self._send = send
        self.status = 0
        self._is_stream = False

    def end_after_body(self, receive: Receive) -> None:
        """Has the answer end only after the request's body, which has not been read."""
        self._send = EndAfterBody(receive, self._send)

    async def relay(self, exchange: Exchange) -> None:
        """Sends the answer of a backend."""
        match exchange.answer:
            case UnaryAnswer() as answer:
                self.context.usage = exchange.dialect.read_usage(answer.body)
                body = answer.body
                if exchange.rename_model_to is not None:
                    body = exchange.dialect.with_model(body, exchange.rename_model_to)
                await self._start(answer.status, _relayed(answer.headers), len(body))
                await self._send({"type": "http.response.body", "body": body, "more_body": False})
            case StreamAnswer() as answer:
                try:
                    await self._relay_stream(answer, _event_relay(exchange))
                finally:
                    self.context.usage = answer.rest.usage
                    answer.rest.close()

    async def _relay_stream(self, answer: StreamAnswer, relay: EventRelay) -> None:
        """Sends each read as one write, so that nothing waits for more."""
        self._is_stream = True
        headers = _relayed(answer.headers)
        headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        await self._start(200, headers, None)
        send, read, feed = self._send, answer.rest.read, relay.feed
        data = answer.first
        while data:
            if out := feed(data):
                await send({"type": "http.response.body", "body": out, "more_body": True})
            data = await read()
        await send({"type": "http.response.body", "body": relay.finish(), "more_body": False})

    async def fail(self, error: GatewayError) -> None:
        """Sends an error: as the answer, or within a stream that has begun as its last event."""
        if self.status and self._is_stream:
            event = encode_event(openai_error_body(error), "error")
            await self._send({"type": "http.response.body", "body": event, "more_body": False})
            return
        if self.status:
            return
        await self._answer_error(openai_error(error))

    async def _answer_error(self, answer: ErrorAnswer) -> None:
        headers = [(b"content-type", answer.content_type)]
        if answer.retry_after is not None:
            headers.append((b"retry-after", answer.retry_after))
        if answer.status == 405:
            headers.append((b"allow", b"POST"))
        await self._start(answer.status, headers, len(answer.body))
        await self._send({"type": "http.response.body", "body": answer.body, "more_body": False})

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]], length: int | None) -> None:
        context = self.context
        self.status = status
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        headers.append((b"x-request-id", context.request_id.encode()))
        if context.route:
            headers.append((b"x-janua-route", context.route.encode()))
        if context.service:
            headers.append((b"x-janua-service", context.service.encode()))
        if context.endpoint:
            headers.append((b"x-janua-endpoint", context.endpoint.encode()))
            headers.append((b"x-janua-attempts", b"%d" % context.attempts))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


def _event_relay(exchange: Exchange) -> EventRelay:
    if exchange.rename_model_to is None:
        return WholeEvents()
    return RenamedEvents(exchange.dialect, exchange.rename_model_to)


def _relayed(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The backend's end-to-end headers."""
    lowered = [(name.lower(), value) for name, value in headers]
    of_connection = {
        nominated.strip().lower() for name, value in lowered if name == b"connection" for nominated in value.split(b",")
    }
    dropped = _NOT_RELAYED | of_connection if of_connection else _NOT_RELAYED
    return [(name, value) for name, value in lowered if name not in dropped and not name.startswith(b"x-janua-")]


def _context(scope: Scope, operation: Operation) -> RequestContext:
    headers = join_headers(scope["headers"])
    client = scope.get("client")
    return RequestContext(
        request_id=request_id(headers.get(b"x-request-id")),
        protocol="http",
        operation=operation,
        method=scope["method"],
        path=scope["path"],
        host=host_name(headers.get(b"host", b"")),
        query_string=scope["query_string"],
        headers=headers,
        model="",
        is_streaming=False,
        client_address=client[0] if client else "",
        started=time.perf_counter(),
    )
