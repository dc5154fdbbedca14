"""The body of a request that is passed through: read piece by piece, when a backend wants it."""

import asyncio

from gateway.listeners.disconnect import ClientGoneError, Receive
from gateway.operations.replay import MAX_KEPT_BYTES, ReplayableParts

# Of a request with one of these methods and no length, HTTP/2 does not tell whether a body follows.
_METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})


class RequestBody:
    """Reads a body as it comes. Only one may read at a time."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = asyncio.Event()

    async def read(self) -> bytes | None:
        """The next part, at least one byte, or None at the end. Raises `ClientGoneError`."""
        while not self.ended.is_set():
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            if not message.get("more_body", False):
                self.ended.set()
            part: bytes = message.get("body", b"")
            if part:
                return part
        return None

    async def parts(
        self, method: str, length: bytes | None, *, is_chunked: bool, is_http2: bool
    ) -> ReplayableParts | None:
        """The body for a backend, or None if there is none.

        `length` is the content length that is told, `is_chunked` says that there is a transfer coding. A small body is
        read whole, so that it can be sent again.
        """
        parts = ReplayableParts(self.read)
        if is_chunked:
            return parts
        if length is None:
            if is_http2 and method not in _METHODS_WITHOUT_BODY:
                return parts
            await parts.read_first()
            return None if parts.whole == b"" else parts
        if length.isdigit() and int(length) <= MAX_KEPT_BYTES:
            await parts.read_all()
        return parts
