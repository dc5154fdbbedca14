"""The shapes of a request and an answer over HTTP, whatever version of it is spoken."""

from collections.abc import AsyncIterable, Iterable
from typing import Protocol, TypeAlias

from yarl import URL

from gateway.transport.errors import AnswerTooLargeError

Headers: TypeAlias = Iterable[tuple[str, str]]
Body: TypeAlias = bytes | AsyncIterable[bytes] | None


class HttpResponse(Protocol):
    """An answer whose status and headers are there and whose body is read by the caller.

    Every response must be closed. Closing before the end of the body tells the backend to stop its work: over HTTP/1.1
    the connection is closed, over HTTP/2 the stream is reset.
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
        """Ends the exchange; a `read` that waits, and all later ones, raise `error`."""

    def close(self) -> None:
        """Ends the exchange, early if the body has not been read. May be called twice."""


class HttpSender(Protocol):
    """A pool of connections that speak HTTP."""

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
        """Sends a request and returns once the answer's headers are there. Redirects are not followed.

        The connection goes to the URL's host. Where that is an IP address which was found for a name, a `host` header
        and `server_name` carry the name; `server_name` is what TLS asks for and wants to find in the certificate.

        A body that comes piece by piece goes on being sent after the return, until the response is closed; what its
        iterator raises comes out of `send` or `read` as it is. Raises `ConnectError` if the backend has done nothing
        with the request, `ConnectionBrokenError` if it may have, `ValueError` for headers that cannot be sent.
        """

    async def close_when_idle(self) -> None:
        """Waits until every response is closed, then closes all connections."""

    async def close(self) -> None:
        """Closes all connections."""


async def read_all(response: HttpResponse, limit: int, *, first: bytes = b"") -> bytes:
    """The whole rest of a response's body after `first`, and that before it. Closes the response and raises
    `AnswerTooLargeError` over `limit` bytes."""
    parts = []
    size = 0
    part = first or await response.read()
    while part:
        parts.append(part)
        size += len(part)
        if size > limit:
            response.close()
            raise AnswerTooLargeError(f"the answer is larger than {limit} bytes")
        part = await response.read()
    return b"".join(parts)
