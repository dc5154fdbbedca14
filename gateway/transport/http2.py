"""HTTP/2 to backends: requests share one or few connections per endpoint."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from ssl import SSLContext
from typing import NamedTuple

from yarl import URL

from gateway.transport.errors import ConnectError
from gateway.transport.faults import connection_fault
from gateway.transport.http2_connection import GoingAwayError, Http2Connection
from gateway.transport.http2_headers import RawHeaders, request_headers
from gateway.transport.http2_stream import Http2Stream
from gateway.transport.messages import Body, Headers, HttpResponse
from gateway.transport.tls import HTTP2_ALPN, client_context

# What is still to be sent to peers that do not read must not hold up the end.
_CLOSE_TIMEOUT_S = 1.0


class _Origin(NamedTuple):
    is_secure: bool
    host: str
    port: int
    server_name: str | None


@dataclass(slots=True)
class _Pool:
    """The connections to one endpoint."""

    connections: list[Http2Connection] = field(default_factory=list)
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def with_room(self) -> Http2Connection | None:
        return next((each for each in self.connections if each.has_room), None)


class Http2Transport:
    """HTTP/2 to the endpoints of one upstream: over TLS by ALPN, else with prior knowledge.

    Must be made and used on one event loop. Another connection is made when the peer takes no more streams on those
    there are; requests over `max_connections_per_endpoint` full ones wait. `ssl_context` must offer `h2`.
    """

    def __init__(
        self,
        *,
        idle_timeout_s: float,
        ssl_context: SSLContext | None = None,
        max_connections_per_endpoint: int | None = None,
        keepalive_s: float = 20.0,
        keepalive_timeout_s: float = 10.0,
    ) -> None:
        self._ssl_context = ssl_context
        self._limit = max_connections_per_endpoint
        self._make_connection = partial(
            Http2Connection,
            idle_timeout_s=idle_timeout_s,
            keepalive_s=keepalive_s,
            keepalive_timeout_s=keepalive_timeout_s,
        )
        self._pools: dict[_Origin, _Pool] = {}
        self._active_requests = 0
        self._is_idle: asyncio.Event | None = None
        self._is_closed = False

    @property
    def open_connections(self) -> int:
        """Connections to all endpoints."""
        return sum(len(pool.connections) for pool in self._pools.values())

    async def send(
        self,
        method: str,
        url: URL,
        *,
        headers: Headers,
        body: Body,
        connect_timeout_s: float,
        server_name: str | None = None,
    ) -> HttpResponse:
        """Sends a request and returns once the answer's headers are there: see `HttpSender`."""
        fields = request_headers(method, url, headers, body)
        origin = _Origin(url.scheme == "https", url.host or "", url.port or 0, server_name)
        if body is not None and not isinstance(body, bytes):
            return await self._send(origin, fields, body, connect_timeout_s)
        try:
            return await self._send(origin, fields, body, connect_timeout_s)
        except GoingAwayError:
            # Peers close connections now and then, which is no failure: another one takes the request.
            return await self._send(origin, fields, body, connect_timeout_s)

    async def _send(self, origin: _Origin, fields: RawHeaders, body: Body, connect_timeout_s: float) -> Http2Stream:
        self._active_requests += 1
        try:
            connection = await self._connection(origin, connect_timeout_s)
            stream = connection.open_stream(fields, body, self._request_ended)
        except BaseException:
            self._request_ended()
            raise
        try:
            await stream.wait_for_head()
        except BaseException:
            stream.close()
            raise
        return stream

    async def _connection(self, origin: _Origin, connect_timeout_s: float) -> Http2Connection:
        """A connection with room. No other task runs between this and the opening of the stream."""
        while True:
            if self._is_closed:
                raise ConnectError("the upstream is no longer configured")
            pool = self._pools.setdefault(origin, _Pool())
            if (connection := pool.with_room()) is not None:
                return connection
            if self._is_full(pool):
                pool.changed.clear()
                await pool.changed.wait()
                continue
            try:
                async with asyncio.timeout(connect_timeout_s), pool.connecting:
                    if pool.with_room() is None and not self._is_full(pool):
                        await self._connect(origin, pool)
            except TimeoutError as error:
                raise ConnectError("connection timed out") from error
            except OSError as error:
                raise ConnectError(connection_fault(error)) from error

    def _is_full(self, pool: _Pool) -> bool:
        return self._limit is not None and sum(each.is_usable for each in pool.connections) >= self._limit

    async def _connect(self, origin: _Origin, pool: _Pool) -> None:
        connection = self._make_connection(on_change=pool.changed.set)
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: connection,
                origin.host,
                origin.port,
                ssl=self._context() if origin.is_secure else None,
                server_hostname=(origin.server_name or origin.host) if origin.is_secure else None,
            )
            if origin.is_secure and transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
                raise ConnectError("the backend does not speak HTTP/2")
            await connection.wait_until_ready()
        except BaseException:
            connection.close()
            raise
        pool.connections.append(connection)
        connection.closed.add_done_callback(lambda _: self._lost(origin, pool, connection))

    def _context(self) -> SSLContext:
        if self._ssl_context is None:
            self._ssl_context = client_context(None, alpn=HTTP2_ALPN)
        return self._ssl_context

    def _lost(self, origin: _Origin, pool: _Pool, connection: Http2Connection) -> None:
        pool.connections.remove(connection)
        pool.changed.set()
        if not pool.connections and not pool.connecting.locked() and self._pools.get(origin) is pool:
            del self._pools[origin]

    def _request_ended(self) -> None:
        self._active_requests -= 1
        if self._is_idle is not None and self._active_requests == 0:
            self._is_idle.set()

    async def close_when_idle(self) -> None:
        """Waits until every response is closed, then closes all connections."""
        self._is_idle = asyncio.Event()
        if self._active_requests:
            await self._is_idle.wait()
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        self._is_closed = True
        connections = [connection for pool in self._pools.values() for connection in pool.connections]
        for pool in self._pools.values():
            pool.changed.set()
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=_CLOSE_TIMEOUT_S)
        for connection in connections:
            connection.abort()
