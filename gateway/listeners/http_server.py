"""The listener for requests over HTTP, with the server that the node is told to use."""

import asyncio
import socket
import ssl
from typing import cast

from quart import Quart

from gateway.bootstrap import HttpServer
from gateway.listeners.disconnect import AsgiApp
from gateway.listeners.hypercorn import serve_http


async def serve_requests(
    server: HttpServer,
    app: Quart,
    listener: socket.socket,
    drain: asyncio.Event,
    drain_timeout_s: float,
    *,
    max_message_bytes: int,
    tls: ssl.SSLContext | None,
) -> None:
    """Serves until `drain` is set, see `serve_http`. Granian takes no `tls`."""
    if server is HttpServer.GRANIAN:
        # Only who wants it has installed it.
        from gateway.listeners.granian import serve_granian

        await serve_granian(cast("AsgiApp", app), listener, drain, drain_timeout_s)
    else:
        await serve_http(app, listener, drain, drain_timeout_s, max_message_bytes=max_message_bytes, tls=tls)
