"""Serving an ASGI application with Hypercorn on a socket of our own, until told to drain."""

import asyncio
import socket
import ssl
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart

from gateway.listeners.http2 import mend_http2
from gateway.listeners.idle_watch import mend_idle_watch
from gateway.listeners.tls_connection import mend_connections
from gateway.listeners.websocket_stream import WEBSOCKET_PING_INTERVAL_S, mend_websockets

_KEEP_ALIVE_S = 75.0
_BACKLOG = 2048
_MAX_MESSAGE_BYTES = 1024 * 1024
_HANDSHAKE_TIMEOUT_S = 10.0


class ListenError(Exception):
    """An address cannot be listened on."""


class _TlsConfig(Config):
    """Hypercorn's configuration with a context of our own in place of files that it would read once."""

    ssl_enabled = True
    ssl_handshake_timeout = _HANDSHAKE_TIMEOUT_S

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def create_ssl_context(self) -> ssl.SSLContext:
        return self._context


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket; `shared`: on a port that other workers listen on. Raises `ListenError` with what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(listen_error_text(host, port, error)) from error
    listener.setblocking(False)
    return listener


def listen_error_text(host: str, port: int, error: OSError) -> str:
    """One line on why the address cannot be used."""
    reason = (error.strerror or str(error)).lower()
    return f"cannot listen on {host}:{port}: {reason}; choose another address or port 0 for a free one"


async def serve_http(
    app: Quart,
    listener: socket.socket,
    drain: asyncio.Event,
    drain_timeout_s: float,
    *,
    max_message_bytes: int = _MAX_MESSAGE_BYTES,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serves until `drain` is set: then stops accepting, finishes what runs for up to the timeout, and returns.

    `max_message_bytes` is the largest message that a WebSocket may bring. `tls` None: in clear.
    """
    mend_http2()
    mend_idle_watch()
    mend_websockets()
    if tls is None:
        config = Config()
    else:
        mend_connections()
        config = _TlsConfig(tls)
    # Hypercorn makes its own socket object of the descriptor and closes it.
    config.bind = [f"fd://{listener.detach()}"]
    config.include_server_header = False
    config.graceful_timeout = drain_timeout_s
    config.keep_alive_timeout = _KEEP_ALIVE_S
    # A limit would end the streams that share an HTTP/2 connection with the last request.
    config.keep_alive_max_requests = sys.maxsize
    config.backlog = _BACKLOG
    config.websocket_max_message_size = max_message_bytes
    config.websocket_ping_interval = WEBSOCKET_PING_INTERVAL_S
    config.loglevel = "WARNING"
    config.errorlog = None
    try:
        await serve(app, config, shutdown_trigger=drain.wait)
    except asyncio.CancelledError:
        # Hypercorn lets the cancellation of requests that outlived the timeout escape.
        task = asyncio.current_task()
        if not drain.is_set() or (task is not None and task.cancelling()):
            raise
