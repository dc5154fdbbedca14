"""HTTP/1.1 by hand, for requests that no client library would send."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """An answer as it stood on the wire; header names in lower case."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes
    is_complete: bool = True

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key == name), None)


class RawConnection:
    """A connection to send anything on."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Writes bytes; a server that does not want them any more is no error."""
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def response(self) -> RawResponse | None:
        """The next answer, up to its end or that of the connection; None if the connection ends without one."""
        head = await self.head()
        if head is None:
            return None
        if head.header("transfer-encoding") == "chunked":
            body, is_complete = await self._chunks()
        else:
            body, is_complete = await self._exactly(int(head.header("content-length") or "0"))
        return replace(head, body=body, is_complete=is_complete)

    async def head(self) -> RawResponse | None:
        """The next answer without its body."""
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        status_line, *lines = head.rstrip("\r\n").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        headers = [(name.lower(), value.strip()) for name, _, value in pairs]
        return RawResponse(status=int(status_line.split(" ")[1]), headers=headers, body=b"", is_complete=False)

    async def read(self, size: int = 65536) -> bytes:
        """What has come, at most so many bytes; empty once the connection has ended."""
        try:
            return await self._reader.read(size)
        except ConnectionError:
            return b""

    async def _chunks(self) -> tuple[bytes, bool]:
        body = bytearray()
        while line := await self._line():
            size = int(line, 16)
            data, is_complete = await self._exactly(size + 2)
            body += data[:size]
            if not is_complete or size == 0:
                return bytes(body), is_complete
        return bytes(body), False

    async def _line(self) -> bytes:
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""

    async def _exactly(self, size: int) -> tuple[bytes, bool]:
        try:
            return await self._reader.readexactly(size), True
        except asyncio.IncompleteReadError as error:
            return error.partial, False
        except ConnectionError:
            return b"", False

    async def responses_until_closed(self) -> list[RawResponse]:
        """All answers until the server closes the connection."""
        responses = []
        while (response := await self.response()) is not None:
            responses.append(response)
        return responses

    def reset(self) -> None:
        """Breaks the connection."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def half_close(self) -> None:
        """Says that nothing more will be sent."""
        self._writer.write_eof()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[RawConnection]:
    """A connection to `host:port`."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def post(body: bytes, *headers: str, path: str = "/v1/chat/completions") -> bytes:
    """A request; without headers of its own, one that is as it should be and closes the connection."""
    lines = headers or (f"content-length: {len(body)}", "connection: close")
    head = "\r\n".join([f"POST {path} HTTP/1.1", "host: gateway", "content-type: application/json", *lines])
    return head.encode("latin-1") + b"\r\n\r\n" + body


def request(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """A request with these headers and a host."""
    head = "\r\n".join([f"{method} {target} HTTP/1.1", "host: gateway", *headers])
    return head.encode("latin-1") + b"\r\n\r\n" + body
