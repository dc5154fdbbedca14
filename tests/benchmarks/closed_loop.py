"""Load that waits: connections that each send the next request when the answer to the last is whole. Cheaper than a
client library by far, as many requests need it."""

import asyncio
from collections.abc import Iterator
from typing import cast

from tests.benchmarks.client import VoidRunError
from tests.benchmarks.load_generator import is_whole


async def ask_all(address: str, requests: Iterator[bytes], *, connections: int) -> None:
    """Sends all requests. Raises `VoidRunError` for the first that is not answered with status 200."""
    host, port = address.rsplit(":", 1)
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: _Connection(requests), host, int(port)) for _ in range(connections)]
    try:
        await asyncio.gather(*(connection.finished for _, connection in opened))
    finally:
        for transport, _ in opened:
            transport.abort()


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._answer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send_next()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head_end = self._answer.find(b"\r\n\r\n")
        if head_end < 0 or not is_whole(self._answer, head_end):
            return
        if not self._answer.startswith(b"HTTP/1.1 200"):
            self._end(VoidRunError(f"a request failed: {bytes(self._answer[:300])!r}"))
            return
        self._answer.clear()
        self._send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(VoidRunError(f"a connection was lost: {exc}"))

    def _send_next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is None:
            self._end(None)
        else:
            self._transport.write(request)

    def _end(self, error: VoidRunError | None) -> None:
        if self.finished.done():
            return
        if error is None:
            self.finished.set_result(None)
        else:
            self.finished.set_exception(error)
