"""The body of a request that is passed through: read piece by piece, when a backend wants it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from gateway.errors import InvalidRequestError, PayloadTooLargeError
from gateway.filters.size_limits import check_body_size
from gateway.listeners.disconnect import ClientGoneError, Receive
from gateway.operations.replay import MAX_KEPT_BYTES, ReplayableParts

# Of a request with one of these methods and no length, HTTP/2 does not tell whether a body follows.
_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})
_MAX_LENGTH_DIGITS = 18


class RequestBody:
    """Reads a body as it comes, of at most `max_bytes` unless that is None. Only one may read at a time."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._length: int | None = None
        self._size = 0
        self.max_bytes: int | None = None
        self.ended = asyncio.Event()

    async def read(self) -> bytes | None:
        """The next part, at least one byte, or None at the end.

        Raises `ClientGoneError`, `PayloadTooLargeError`, and `InvalidRequestError` for a body of another length than
        was told: what a backend takes for the rest of it would be the beginning of the next request.
        """
        while not self.ended.is_set():
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part: bytes = message.get("body", b"")
            self._size += len(part)
            if not message.get("more_body", False):
                self.ended.set()
            if self._length is not None:
                self._check_length(self._length)
            if self.max_bytes is not None:
                check_body_size(self._size, self.max_bytes)
            if part:
                return part
        return None

    def size(self, headers: Mapping[bytes, bytes]) -> int:
        """Its length in bytes as far as it is told or has come. Raises `InvalidRequestError`."""
        return max(told_length(headers) or 0, self._size)

    async def read_whole(self, headers: Mapping[bytes, bytes], limit: int) -> bytes:
        """All of it. Raises `PayloadTooLargeError` over the limit, before reading where the length is told, and as
        `read` does."""
        self._length = told_length(headers)
        size = self._length or 0
        parts: list[bytes] = []
        while size <= limit:
            part = await self.read()
            if part is None:
                return b"".join(parts)
            parts.append(part)
            size = max(size, self._size)
        raise PayloadTooLargeError(f"the body is larger than the limit of {limit} bytes")

    async def parts(
        self,
        method: str,
        headers: Mapping[bytes, bytes],
        *,
        is_http2: bool,
        read: Callable[[], Awaitable[bytes | None]] | None = None,
    ) -> ReplayableParts | None:
        """The body for a backend, or None if there is none. A small one is read whole, so that it can be sent again.

        `read`, if it is given, stands between, and calls `read` of this. Raises as `read` does.
        """
        parts = ReplayableParts(read or self.read)
        if b"transfer-encoding" in headers:
            return parts
        self._length = told_length(headers)
        if self._length is None:
            if is_http2 and method not in _METHODS_WITHOUT_BODY:
                return parts
            await parts.read_first()
            return None if parts.whole == b"" else parts
        if self._length <= MAX_KEPT_BYTES:
            await parts.read_all()
        return parts

    def _check_length(self, length: int) -> None:
        if self._size > length or (self.ended.is_set() and self._size < length):
            raise InvalidRequestError("the body is not as long as content-length says")


def told_length(headers: Mapping[bytes, bytes]) -> int | None:
    """What `content-length` says, None if it is not there. Raises `InvalidRequestError`."""
    length = headers.get(b"content-length")
    if length is None:
        return None
    if not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
        raise InvalidRequestError("content-length must be one whole number")
    return int(length)
