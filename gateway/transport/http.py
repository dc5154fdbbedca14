"""HTTP/1.1 to backends: one connection pool, requests of bytes, answers read piece by piece.

aiohttp's exceptions end here: callers see `ConnectError` (nothing was sent) and `ConnectionBrokenError`.
"""

import asyncio
from collections.abc import Iterable, Sequence
from io import BytesIO
from ssl import SSLContext

import aiohttp
from aiohttp.hdrs import METH_HEAD
from yarl import URL

from gateway.transport.client_protocol import mend
from gateway.transport.client_request import Request
from gateway.transport.errors import AnswerTooLargeError as AnswerTooLargeError
from gateway.transport.errors import ConnectError as ConnectError
from gateway.transport.errors import ConnectionBrokenError as ConnectionBrokenError
from gateway.transport.errors import TransportError as TransportError
from gateway.transport.faults import transport_error
from gateway.transport.messages import Body, Headers, read_all
from gateway.transport.messages import HttpResponse as HttpResponse
from gateway.transport.streamed_body import StreamedBody
from gateway.transport.websocket import WebSocketConnection, WebSocketRefusedError, connect_websocket

# aiohttp warns about larger bodies given as bytes, because it writes them to the socket in one go.
_LARGE_BODY_BYTES = 1024 * 1024
# What no WebSocket needs.
_SKIPPED_HEADERS = ("User-Agent", "Accept", "Accept-Encoding")


class HttpTransport:
    """A pool of HTTP/1.1 connections to the endpoints of one upstream. Must be made and used on one event loop.

    Connections to one address are not used for another, nor those made for one server name for another. Requests
    over `max_connections_per_endpoint` wait for one to end. All go through `proxy`, an `http` URL, if there is one.
    """

    def __init__(
        self,
        *,
        idle_timeout_s: float,
        ssl_context: SSLContext | None = None,
        max_connections_per_endpoint: int | None = None,
        proxy: str | None = None,
    ) -> None:
        self._connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=max_connections_per_endpoint or 0,
            keepalive_timeout=idle_timeout_s,
            ssl=True if ssl_context is None else ssl_context,
        )
        mend(self._connector)
        self._loop = asyncio.get_running_loop()
        self._proxy = None if proxy is None else URL(proxy)
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._websocket_sessions: dict[float, aiohttp.ClientSession] = {}
        self._active_requests = 0
        self._is_idle: asyncio.Event | None = None

    async def send(
        self,
        method: str,
        url: URL,
        *,
        headers: Headers,
        body: Body,
        connect_timeout_s: float,
        server_name: str | None = None,
    ) -> "_AiohttpResponse":
        """Sends a request and returns once the answer's headers are there: see `HttpSender`.

        A body that comes piece by piece is sent in chunks, unless the headers tell its length.
        """
        if self._connector.closed:
            raise ConnectError("the upstream is no longer configured")
        data = body if body is None or isinstance(body, bytes) else StreamedBody(body)
        self._active_requests += 1
        try:
            request = Request(
                method,
                url,
                headers=headers,
                data=BytesIO(data) if isinstance(data, bytes) and len(data) > _LARGE_BODY_BYTES else data,
                loop=self._loop,
                proxy=self._proxy,
                server_hostname=server_name,
            )
            response = await self._exchange(request, self._timeout(connect_timeout_s))
        except BaseException as error:
            self.request_ended()
            if isinstance(data, StreamedBody) and data.error is not None:
                raise data.error from None
            if isinstance(error, (aiohttp.ClientError, OSError)):
                raise transport_error(error) from error
            raise
        answer = _AiohttpResponse(response, self)
        if isinstance(data, StreamedBody):
            if data.error is not None:
                answer.abort(data.error)
            data.on_error = answer.abort
        return answer

    async def _exchange(self, request: Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """Sends the request over a connection of the pool. What aiohttp's sessions add, nobody wants here: cookies,
        redirects, and requests that are sent again when their connection breaks, which retry policies decide."""
        try:
            connection = await self._connector.connect(request, traces=[], timeout=timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        try:
            protocol = connection.protocol
            assert protocol is not None, "the connection is open"
            protocol.set_response_params(
                skip_payload=request.method == METH_HEAD, read_until_eof=True, auto_decompress=False
            )
            response = await request.send(connection)
            try:
                return await response.start(connection)
            except BaseException:
                response.close()
                raise
        except BaseException:
            connection.close()
            raise

    async def open_websocket(
        self,
        url: URL,
        *,
        headers: Headers,
        subprotocols: Sequence[str],
        connect_timeout_s: float,
        max_message_bytes: int,
        server_name: str | None = None,
    ) -> WebSocketConnection:
        """Connects within the time, and shakes hands. The connection counts as a request until it is closed.

        Raises `WebSocketRefusedError` with the status of a backend that answers with another than 101, `ConnectError`
        and `ConnectionBrokenError`.
        """
        if self._connector.closed:
            raise ConnectError("the upstream is no longer configured")
        self._active_requests += 1
        try:
            connection = await connect_websocket(
                self._websocket_session(connect_timeout_s),
                url,
                headers=headers,
                subprotocols=subprotocols,
                max_message_bytes=max_message_bytes,
                server_name=server_name,
            )
        except BaseException:
            self.request_ended()
            raise
        connection.on_closed = self.request_ended
        return connection

    def _websocket_session(self, connect_timeout_s: float) -> aiohttp.ClientSession:
        """aiohttp takes the time for connecting a WebSocket from its session, and these share the connections."""
        session = self._websocket_sessions.get(connect_timeout_s)
        if session is None:
            session = aiohttp.ClientSession(
                connector=self._connector,
                connector_owner=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_SKIPPED_HEADERS,
                timeout=self._timeout(connect_timeout_s),
                middlewares=(_send_once, _lead_nowhere),
                proxy=self._proxy,
            )
            self._websocket_sessions[connect_timeout_s] = session
        return session

    def _timeout(self, connect_timeout_s: float) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get(connect_timeout_s)
        if timeout is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)
            self._timeouts[connect_timeout_s] = timeout
        return timeout

    def request_ended(self) -> None:
        """Notes that a request has failed or its response is closed."""
        self._active_requests -= 1
        if self._is_idle is not None and self._active_requests == 0:
            self._is_idle.set()

    async def close_when_idle(self) -> None:
        """Waits until every response and WebSocket is closed, then closes all connections."""
        self._is_idle = asyncio.Event()
        if self._active_requests:
            await self._is_idle.wait()
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        for session in self._websocket_sessions.values():
            await session.close()
        await self._connector.close()


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from sending a request again by itself when its connection breaks: retry policies decide that."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise transport_error(error) from error


async def _lead_nowhere(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keeps aiohttp from opening a WebSocket wherever a backend leads to."""
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise WebSocketRefusedError(response.status)
    return response


class _AiohttpResponse:
    __slots__ = ("_response", "_transport", "status")

    def __init__(self, response: aiohttp.ClientResponse, transport: HttpTransport) -> None:
        self._response = response
        self._transport: HttpTransport | None = transport
        self.status = response.status

    @property
    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        return self._response.raw_headers

    def header(self, name: str) -> str | None:
        return self._response.headers.get(name)

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise transport_error(error) from error

    async def read_all(self, limit: int) -> bytes:
        part = await self.read()
        if self._response.content.at_eof() and len(part) <= limit:
            return part  # as all that are small
        return await read_all(self, limit, first=part)

    def abort(self, error: Exception) -> None:
        self._response.content.set_exception(error)
        self._response.close()

    def close(self) -> None:
        if self._transport is None:
            return
        self._transport.request_ended()
        self._transport = None
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
