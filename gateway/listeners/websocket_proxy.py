"""WebSockets that are passed through: messages relayed both ways until either side closes."""

import asyncio
import time
from contextlib import suppress

from gateway.context import RequestContext
from gateway.errors import GatewayError
from gateway.listeners.disconnect import CancelOnDisconnect, Receive, Scope, Send
from gateway.listeners.http_exchange import error_answer, own_headers
from gateway.listeners.http_proxy import ProxyErrors, checked_target, client_side
from gateway.operations.websocket_proxy import BackendWebSocket, WebSocketInbound
from gateway.pipeline import Pipeline
from gateway.plan import RoutePlan
from gateway.transport.errors import AnswerTooLargeError, ConnectionBrokenError
from gateway.transport.websocket import WebSocketClose

_SWITCHING_PROTOCOLS = 101

# Close codes (RFC 6455, section 7.4.1). The last three are never sent: they tell how a connection ended without one.
_NORMAL = 1000
_GOING_AWAY = 1001
_TOO_BIG = 1009
_INTERNAL_ERROR = 1011
_NO_CODE = 1005
_BROKEN = frozenset({1006, 1015})

_GOODBYE_S = 1.0


class WebSocketExchange:
    """A client that wants a WebSocket, and may get one."""

    def __init__(self, context: RequestContext, receive: Receive, send: Send) -> None:
        self.context = context
        self.receive = receive
        self.send = send
        self.status = 0

    async def accept(self, subprotocol: str | None) -> None:
        """Opens it."""
        self.status = _SWITCHING_PROTOCOLS
        headers = own_headers(self.context)
        await self.send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers})

    async def close(self, code: int, reason: str = "") -> None:
        """Closes it once it is open."""
        await self.send({"type": "websocket.close", "code": code, "reason": reason})

    async def fail(self, error: GatewayError) -> None:
        """Answers the handshake with an error; of an open WebSocket, closes it."""
        if self.status:
            await self.close(_INTERNAL_ERROR)
            return
        answer = error_answer(error, ProxyErrors())
        self.status = answer.status
        headers = [*answer.all_headers(), *own_headers(self.context), (b"content-length", b"%d" % len(answer.body))]
        await self.send({"type": "websocket.http.response.start", "status": answer.status, "headers": headers})
        await self.send({"type": "websocket.http.response.body", "body": answer.body, "more_body": False})


class WebSocketProxyListener:
    """Handles one WebSocket, for the route that takes it."""

    def __init__(self, pipeline: Pipeline, plan: RoutePlan, scope: Scope, *, max_message_bytes: int) -> None:
        self._pipeline = pipeline
        self._plan = plan
        self._scope = scope
        self._max_message_bytes = max_message_bytes

    async def handle(self, exchange: WebSocketExchange) -> None:
        """One WebSocket, until both sides are closed."""
        context = exchange.context
        path = checked_target(context)
        await self._pipeline.admit(context, self._plan)
        inbound = WebSocketInbound(
            route=self._plan.route,
            path=path,
            headers=self._scope["headers"],
            client=client_side(context, self._scope),
            subprotocols=self._scope["subprotocols"],
            max_message_bytes=self._max_message_bytes,
        )
        backend: BackendWebSocket | None = None
        try:
            await exchange.receive()  # that the client wants to connect is known
            async with CancelOnDisconnect(exchange.receive):
                backend = await self._pipeline.call(context, self._plan, inbound)
            context.first_content_at = time.perf_counter()
            await exchange.accept(backend.connection.subprotocol)
            await _relay(exchange, backend, self._plan.filters_for(context.consumer).max_body_bytes)
        except asyncio.CancelledError:
            if exchange.status:
                with suppress(TimeoutError):  # who does not read must not hold up the end
                    async with asyncio.timeout(_GOODBYE_S):
                        await exchange.close(_GOING_AWAY, "the gateway is going away")
            raise
        finally:
            if backend is not None:
                await backend.close(_GOING_AWAY)


async def _relay(exchange: WebSocketExchange, backend: BackendWebSocket, max_bytes: int | None) -> None:
    """Relays both ways, one message at a time, until one side closes; then the other is closed too. `max_bytes` is the
    largest message that the client may send, None for what the server takes."""
    directions = [
        asyncio.create_task(_to_backend(exchange, backend, max_bytes)),
        asyncio.create_task(_to_client(exchange, backend)),
    ]
    try:
        done, _ = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
    finally:
        for each in directions:
            each.cancel()
        await asyncio.gather(*directions, return_exceptions=True)


async def _to_backend(exchange: WebSocketExchange, backend: BackendWebSocket, max_bytes: int | None) -> None:
    while (message := await exchange.receive())["type"] == "websocket.receive":
        binary = message.get("bytes")
        data: str | bytes = message["text"] if binary is None else binary
        if max_bytes is not None and len(data.encode() if isinstance(data, str) else data) > max_bytes:
            await exchange.close(_TOO_BIG, "a message is too large")
            return
        try:
            await backend.connection.send(data)
        except ConnectionBrokenError:
            await _broken(exchange, backend)
            return
    await backend.close(_sendable(message["code"]), message.get("reason") or "")


async def _to_client(exchange: WebSocketExchange, backend: BackendWebSocket) -> None:
    while True:
        try:
            message = await backend.connection.receive()
        except AnswerTooLargeError:
            await exchange.close(_TOO_BIG, "a message is too large")
            return
        except ConnectionBrokenError:
            await _broken(exchange, backend)
            return
        match message:
            case WebSocketClose(code, reason):
                await exchange.close(_sendable(code), reason)
                return
            case str():
                await exchange.send({"type": "websocket.send", "text": message})
            case _:
                await exchange.send({"type": "websocket.send", "bytes": message})


async def _broken(exchange: WebSocketExchange, backend: BackendWebSocket) -> None:
    backend.lease.broke()
    await exchange.close(_INTERNAL_ERROR, "the connection to the upstream broke")


def _sendable(code: int) -> int:
    """What the other side is told of a close."""
    if code == _NO_CODE:
        return _NORMAL
    return _GOING_AWAY if code in _BROKEN else code
