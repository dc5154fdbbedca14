"""Connections for what a node itself asks of others, such as keys and judgements, by the proxy that they go through."""

from gateway.transport.http import HttpTransport
from gateway.transport.tls import client_context

_IDLE_TIMEOUT_S = 30.0


class Outgoing:
    """Transports that are made on the loop that first uses them. `max_connections` bounds those to one place."""

    def __init__(self, max_connections: int | None = None) -> None:
        self._max_connections = max_connections
        self._transports: dict[str, HttpTransport] = {}

    def through(self, proxy: str) -> HttpTransport:
        """The transport through a proxy; directly, if the name is empty."""
        if (transport := self._transports.get(proxy)) is None:
            transport = self._transports[proxy] = HttpTransport(
                idle_timeout_s=_IDLE_TIMEOUT_S,
                ssl_context=client_context(None),
                max_connections_per_endpoint=self._max_connections,
                proxy=proxy or None,
            )
        return transport

    async def close(self) -> None:
        """Closes the connections."""
        for transport in self._transports.values():
            await transport.close()
