"""One request and its answer on an HTTP/2 connection."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from typing import Protocol

from gateway.transport.errors import ConnectionBrokenError
from gateway.transport.messages import read_all


class StreamOwner(Protocol):
    """The connection, as far as its streams know it."""

    async def send_data(self, stream: "Http2Stream", data: bytes, *, ends: bool) -> bool:
        """Sends a piece of the body as the windows allow; False if the stream takes no more."""

    def give_back(self, stream: "Http2Stream", size: int) -> None:
        """Lets the peer send that many bytes more on the stream."""

    def leave(self, stream: "Http2Stream") -> None:
        """Resets the stream if it has not ended on both sides."""


class Http2Stream:
    """An `HttpResponse` from the moment its request is sent. Its connection tells it what arrives."""

    __slots__ = (
        "_error",
        "_is_closed",
        "_on_closed",
        "_owner",
        "_pieces",
        "_unread",
        "_upload",
        "_waiter",
        "has_ended",
        "headers",
        "is_sending",
        "read_bytes",
        "status",
        "stream_id",
    )

    def __init__(self, owner: StreamOwner, stream_id: int, *, is_sending: bool, on_closed: Callable[[], None]) -> None:
        self.stream_id = stream_id
        self.status = 0
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self.is_sending = is_sending
        self.has_ended = False
        self.read_bytes = 0  # that the connection has yet to give back
        self._owner = owner
        self._on_closed = on_closed
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._error: Exception | None = None
        self._is_closed = False
        self._waiter: asyncio.Future[None] | None = None
        self._upload: asyncio.Task[None] | None = None

    # What the caller does.

    async def wait_for_head(self) -> None:
        """Waits for the answer's status and headers. Raises the stream's error."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    def header(self, name: str) -> str | None:
        """The first value of a header, or None."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for each, value in self.headers if each == wanted), None)

    async def read(self) -> bytes:
        """What has arrived, at least one byte; empty at the end."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self.has_ended:
                return b""
            await self._wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        size, self._unread = self._unread, 0
        self._owner.give_back(self, size)
        return data

    async def read_all(self, limit: int) -> bytes:
        """The whole rest of the body."""
        return await read_all(self, limit)

    def abort(self, error: Exception) -> None:
        """Resets the stream; a `read` that waits, and all later ones, raise `error`."""
        self._pieces.clear()
        self.has_ended = False
        self.failed(error)
        self._owner.leave(self)

    def close(self) -> None:
        """Resets the stream if it has not ended. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        self.failed(ConnectionBrokenError("the answer is closed"))
        self._pieces.clear()
        self._owner.leave(self)
        self._on_closed()

    def start_upload(self, body: bytes | AsyncIterable[bytes]) -> None:
        """Sends a body beside the reading of the answer, until all is sent or the stream takes no more."""
        self._upload = asyncio.get_running_loop().create_task(self._send(body))

    async def _send(self, body: bytes | AsyncIterable[bytes]) -> None:
        if isinstance(body, bytes):
            await self._owner.send_data(self, body, ends=True)
            return
        pieces = aiter(body)
        try:
            while (piece := await anext(pieces, None)) is not None:
                if piece and not await self._owner.send_data(self, piece, ends=False):
                    return
            await self._owner.send_data(self, b"", ends=True)
        except Exception as error:  # the iterator's own, whatever it is: it goes to who gave the iterator
            self.abort(error)
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()

    # What the connection tells.

    def head_received(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """The answer's head, with `:status` first."""
        self.status = int(headers[0][1])
        self.headers = [pair for pair in headers if not pair[0].startswith(b":")]
        self._wake()

    def data_received(self, data: bytes, flow_controlled: int) -> None:
        """A piece of the body, and what it took of the stream's window, padding included."""
        self._unread += flow_controlled
        if data and self._error is None:
            self._pieces.append(data)
            self._wake()

    def ended(self) -> None:
        """The answer is complete."""
        self.has_ended = True
        self._wake()

    def failed(self, error: Exception) -> None:
        """Nothing more is sent or comes. What has arrived can still be read, and a complete answer stays so."""
        self.is_sending = False
        if not self.has_ended and self._error is None:
            self._error = error
        if self._upload is not None and self._upload is not asyncio.current_task():
            self._upload.cancel()
        self._wake()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
