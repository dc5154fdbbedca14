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
# What requests that are cancelled may take to let go of their connections.
_END_S: Final = 1.0
# Granian's own way to log would write to standard output.
_LOGGING: Final[dict[str, Any]] = {"incremental": True, "handlers": {}, "loggers": {}}


async def serve_granian(app: AsgiApp, listener: socket.socket, drain: asyncio.Event, drain_timeout_s: float) -> None:
    """Serves until `drain` is set: then stops accepting, finishes what runs for up to the timeout, and returns.

    It speaks no TLS; to the application, a client that wants a WebSocket has made a plain request.
    """
    # Accepted connections have it from the listening one: small parts of answers must not wait for acknowledgements.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    requests = _Requests(app)
    server = _Server(requests, listener)
    serving = asyncio.create_task(server.serve())
    try:
        stopping = asyncio.create_task(drain.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        server.stop()  # type: ignore[no-untyped-call]
        _, late = await asyncio.wait((serving,), timeout=drain_timeout_s)
        if late:
            requests.cancel()
            await asyncio.wait((serving,), timeout=_END_S)
        else:
            await serving
    finally:
        serving.cancel()


class _Server(Server):
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
            http2_settings=HTTP2Settings(max_headers_size=_MAX_HEAD_BYTES),
            log_dictconfig=_LOGGING,
            log_level=LogLevels.error,
        )
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        answer = _Answer(send)
        if scope["http_version"] != "2":
            if not _is_plain(scope["headers"], scope["http_version"]):
                await answer.refuse()
                return
            if scope["http_version"] == "1":
                scope["http_version"] = "1.0"
        task = asyncio.current_task()
        self._running.add(task)
        try:
            await self._app(scope, receive, answer)
        except asyncio.CancelledError:
            if not self._is_ended:
                raise
        finally:
            self._running.discard(task)
        if not answer.has_begun:
            # The client has left, or what it sent was no body; Granian would answer 500.
            await answer.refuse()

    def cancel(self) -> None:
        """Ends all of them; their answers break off."""
        self._is_ended = True
        for task in self._running:
            if task is not None:
                task.cancel()


class _Answer:
    """Sends, and knows whether it has begun to."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_begun = False

    def __call__(self, message: AsgiMessage) -> Awaitable[None]:
        """ASGI's send."""
        self.has_begun = True
        return self._send(message)

    async def refuse(self) -> None:
        """Says that this was no request, and takes no other from this connection."""
        headers = [(b"connection", b"close"), (b"content-length", b"0")]
        await self._send({"type": "http.response.start", "status": 400, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})


def _is_plain(headers: list[tuple[bytes, bytes]], http_version: str) -> bool:
    """Whether it names one host and at most one coding: others might read the same bytes otherwise (RFC 9112, sections
    3.2 and 6.1). Granian takes such requests, and gives an empty name for none."""
    hosts = codings = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not value and http_version != "1":
                return False
        elif name == b"transfer-encoding":
            codings += 1
            if value.lower() != b"chunked":
                return False
    return hosts == 1 and codings < 2
