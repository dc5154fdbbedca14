"""Whether a connection can be opened."""

import asyncio
import os

from gateway.transport.http import ConnectError
from gateway.upstream.endpoint import Endpoint


class TcpCheck:
    """Opens a connection and closes it."""

    name = "tcp"

    def __init__(self, endpoint: Endpoint) -> None:
        self._host = endpoint.config.resolved_host or endpoint.config.host
        self._port = endpoint.config.port

    async def ask(self, timeout_s: float) -> str | None:
        """One connection."""
        try:
            _, writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            raise ConnectError(
                os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
            ) from error
        writer.close()
        return None
