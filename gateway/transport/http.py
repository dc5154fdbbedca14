"""HTTP/1.1 to backends: one connection pool, requests of bytes, answers read piece by piece.

aiohttp's exceptions end here: callers see `ConnectError` (nothing was sent) and `ConnectionBrokenError`.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Iterable
from io import BytesIO
from typing import Protocol

import aiohttp
from yarl import URL

# aiohttp warns about larger bodies given as bytes, because it writes them to the socket in one go.
_LARGE_BODY_BYTES = 1024 * 1024

Headers = Iterable[tuple[str, str]]


class TransportError(Exception):
    """A request failed below HTTP."""


class ConnectError(TransportError):
    """No connection could be made in time: the backend has seen nothing of the request."""


class ConnectionBrokenError(TransportError):
    """The connection ended, or what came over it was not HTTP, before the answer was complete."""


class AnswerTooLargeError(TransportError):
    """An answer that must be held as a whole is over the limit."""


class HttpResponse(Protocol):
    """An answer whose status and headers are there and whose body is read by the caller.

    Every response must be closed. Closing before the end of the body closes the connection, which tells the backend
    to stop its work.
    """

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        """Headers as they came."""

    def header(self, name: str) -> str | None:
        """The first value of a header, or None."""

    async def read(self) -> bytes:
        """What has arrived, at least one byte; empty at the end."""

    async def read_all(self, limit: int) -> bytes:
        """The whole rest of the body. Raises `AnswerTooLargeError` over `limit` bytes."""

    def abort(self, error: Exception) -> None:
        """Closes the connection; a `read` that waits, and all later ones, raise `error`."""

    def close(self) -> None:
        """Gives the connection back if the body has been read, else closes it. May be called twice."""


class HttpTransport:
    """A pool of HTTP/1.1 connections to the endpoints of one upstream. Must be made and used on one event loop."""

    def __init__(self, *, idle_timeout_s: float) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=idle_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._active_requests = 0
        self._is_idle: asyncio.Event | None = None

    async def send(
        self, method: str, url: URL, *, headers: Headers, body: bytes | None, connect_timeout_s: float
    ) -> HttpResponse:
        """Sends a request and returns once the answer's headers are there. Redirects are not followed."""
        if self._session.closed:
            raise ConnectError("the upstream is no longer configured")
        self._active_requests += 1
        try:
            response = await self._session.request(
                method,
                url,
                headers=headers,
                data=BytesIO(body) if body and len(body) > _LARGE_BODY_BYTES else body,
                allow_redirects=False,
                timeout=self._timeout(connect_timeout_s),
            )
        except BaseException as error:
            self.request_ended()
            if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
                raise ConnectError(_reason(error)) from error
            if isinstance(error, (aiohttp.ClientError, OSError)):
                raise ConnectionBrokenError(_reason(error)) from error
            raise
        return _AiohttpResponse(response, self)

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
        """Waits until every response is closed, then closes all connections."""
        self._is_idle = asyncio.Event()
        if self._active_requests:
            await self._is_idle.wait()
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        await self._session.close()


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
            raise ConnectionBrokenError(_reason(error)) from error

    async def read_all(self, limit: int) -> bytes:
        parts = []
        size = 0
        while part := await self.read():
            parts.append(part)
            size += len(part)
            if size > limit:
                self.close()
                raise AnswerTooLargeError(f"the answer is larger than {limit} bytes")
        return b"".join(parts)

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


def _reason(error: Exception) -> str:
    """The fault in a few words, without the connection details that aiohttp puts around it."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "connection timed out"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "connection closed before the answer"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the answer is not valid HTTP"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer is cut off or malformed"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {cause.verify_message}"
    # The numbers of these two are not those of the system.
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason or 'no handshake'}".lower().replace("_", " ")
    if isinstance(cause, socket.gaierror):
        return "host name cannot be resolved"
    if isinstance(cause, OSError) and cause.errno:
        # The text of the exception itself may be asyncio's, with the address in it.
        return os.strerror(cause.errno).lower()
    return type(cause).__name__
