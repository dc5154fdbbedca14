"""Serving an ASGI application with Granian on a socket of our own, until told to drain."""

import asyncio
import socket
from collections.abc import Awaitable
from typing import Any, Final

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings, HTTP2Settings
from granian.log import LogLevels
from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.embed import Server

from gateway.listeners.disconnect import AsgiApp, AsgiMessage, Receive, Scope, Send

_KEEP_ALIVE_MS: Final = 75_000
_BACKLOG: Final = 2048
_MAX_HEAD_BYTES: Final = 64 * 1024
# Without a bound of its own, as Hypercorn: what a process may open bounds connections.
_MAX_CONNECTIONS: Final = 1_000_000
# What clients may take to get the rest of their answers, once all requests have ended.
_END_S: Final = 5.0
# Granian's own way to log would write to standard output.
_LOGGING: Final[dict[str, Any]] = {"incremental": True, "handlers": {}, "loggers": {}}

# What no value of a header may have, as spaces (RFC 9110, section 5.5). A backend that says such is shown all the same.
_CONTROLS: Final = bytes(each for each in (*range(32), 127) if each != 9)
_PRINTABLE: Final = bytes.maketrans(_CONTROLS, b" " * len(_CONTROLS))


async def serve_granian(app: AsgiApp, listener: socket.socket, drain: asyncio.Event, drain_timeout_s: float) -> None:
    """Serves until `drain` is set: then stops accepting, finishes what runs for up to the timeout, and returns.

    It speaks no TLS; to the application, a client that wants a WebSocket has made a plain request.
    """
    requests = _Requests(app)
    server = EmbeddedServer(requests, listener)
    serving = asyncio.create_task(server.serve())
    draining = asyncio.create_task(drain.wait())
    try:
        await asyncio.wait((serving, draining), return_when=asyncio.FIRST_COMPLETED)
        if not drain.is_set():
            raise RuntimeError("Granian has ended by itself")
    finally:
        draining.cancel()
        server.stop()  # type: ignore[no-untyped-call]
    ended = asyncio.create_task(requests.wait_for_end())
    done, _ = await asyncio.wait((serving, ended), timeout=drain_timeout_s, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if not done:
        requests.cancel()
    # Clients that do not let go of their connections must not hold the node up.
    await asyncio.wait((serving,), timeout=_END_S)


class EmbeddedServer(Server):
    """Granian on the running event loop, with a socket that is bound already."""

    def __init__(self, app: AsgiApp, listener: socket.socket) -> None:
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            http=HTTPModes.auto,
            websockets=False,
            backlog=_BACKLOG,
            backpressure=_MAX_CONNECTIONS,
            http1_settings=HTTP1Settings(header_read_timeout=_KEEP_ALIVE_MS, max_buffer_size=_MAX_HEAD_BYTES),
            http2_settings=HTTP2Settings(max_headers_size=_MAX_HEAD_BYTES, keep_alive_interval=_KEEP_ALIVE_MS),
            log_dictconfig=_LOGGING,
            log_level=LogLevels.error,
        )
        # Accepted connections have it from the listening one: small parts of answers must not wait to be acknowledged.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener = listener

    def _init_shared_socket(self) -> None:
        # Who listens with it closes the descriptor.
        self._shd = SocketHolder(self._listener.detach(), False, _BACKLOG)  # type: ignore[assignment, call-arg]


class _Requests:
    """Runs the application for what is a request by all readers' rules, and knows what runs."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._running: set[asyncio.Task[Any] | None] = set()
        self._is_ended = False
        self._end: asyncio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        exchange = _Exchange(receive, send)
        if scope["http_version"] != "2":
            if not exchange.read_head(scope["headers"], scope["http_version"]):
                await exchange.end(400)
                return
            if scope["http_version"] == "1":
                scope["http_version"] = "1.0"
        task = asyncio.current_task()
        self._running.add(task)
        try:
            await self._app(scope, exchange.receive if exchange.awaits_body else receive, exchange.send)
        except asyncio.CancelledError:
            if not self._is_ended:
                raise
            if not exchange.has_begun:
                await exchange.end(503)
        else:
            if not exchange.has_begun:
                # The client has left, or what it sent was no body; Granian would answer 500.
                await exchange.end(400)
        finally:
            self._running.discard(task)
            if self._end is not None and not self._running:
                self._end.set()

    async def wait_for_end(self) -> None:
        """Returns once none runs."""
        self._end = asyncio.Event()
        if self._running:
            await self._end.wait()

    def cancel(self) -> None:
        """Ends all of them; their answers break off."""
        self._is_ended = True
        for task in self._running:
            if task is not None:
                task.cancel()


class _Exchange:
    """One request and the answer to it, between Granian and the application."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.awaits_body = False
        self.has_begun = False
        self._is_asked_for = True
        self._left = -1  # of the body, in bytes; negative if that is not known

    def read_head(self, headers: list[tuple[bytes, bytes]], http_version: str) -> bool:
        """Whether HTTP/1 headers name one host and at most one coding: others might read the same bytes otherwise (RFC
        9112, sections 3.2 and 6.1). Granian takes such requests, and gives an empty name for none."""
        hosts = codings = 0
        for name, value in headers:
            if name == b"host":
                hosts += 1
                if not value and http_version != "1":
                    return False
            elif name == b"content-length":
                self._left = int(value)
                self.awaits_body = self._left != 0
            elif name == b"expect":
                self._is_asked_for = False
            elif name == b"transfer-encoding":
                self._left, self.awaits_body = -1, True
                codings += 1
                if value.lower() != b"chunked":
                    return False
        return hosts == 1 and codings < 2

    async def receive(self) -> AsgiMessage:
        """ASGI's receive, for a request that has a body."""
        self._is_asked_for = True
        message = await self._receive()
        if message.get("more_body", False):
            self._left -= len(message["body"])
            if self._left:
                return message
            # Granian would tell so in a message of its own, which comes from another thread once more.
            message["more_body"] = False
        self.awaits_body = False
        return message

    def send(self, message: AsgiMessage) -> Awaitable[None]:
        """ASGI's send."""
        if self.has_begun:
            return self._send(message)
        self.has_begun = True
        if self.awaits_body and self._is_asked_for:
            # Of an answer that is as long as it says Granian would take the end, whatever of the body is still to come,
            # for that of the exchange, and reset the connection.
            message["headers"] = [header for header in message["headers"] if header[0] != b"content-length"]
        try:
            return self._send(message)
        except RuntimeError:
            message["headers"] = [(name, value.translate(_PRINTABLE)) for name, value in message["headers"]]
            return self._send(message)

    async def end(self, status: int) -> None:
        """Answers with a status alone, and takes no other request from this connection."""
        headers = [(b"connection", b"close"), (b"content-length", b"0")]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})
