"""Serving the console with Hypercorn."""

import asyncio
import socket

from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart

from config_server.listen_address import ListenAddress, ListenError

_DRAIN_S = 1.0


def bind(address: ListenAddress) -> socket.socket:
    """A listening socket. Raises ListenError."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ListenError(f"cannot listen on {address}: {reason}; give --console another address") from error
    listener.setblocking(False)
    return listener


async def serve_console(app: Quart, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serves until `stop` is set. Closes the listener."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.include_server_header = False
    config.graceful_timeout = _DRAIN_S
    config.loglevel = "WARNING"
    config.errorlog = None
    await serve(app, config, shutdown_trigger=stop.wait)
