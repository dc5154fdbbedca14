"""HTTP/1.1 by hand, for requests that no client library would send."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """An answer as it stood on the wire; header names in lower case."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

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
        """The next answer; None if the connection ends without one."""
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        status_line, *lines = head.rstrip("\r\n").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        headers = [(name.lower(), value.strip()) for name, _, value in pairs]
        length = int(dict(headers).get("content-length", "0"))
        body = await self._reader.readexactly(length)
        return RawResponse(status=int(status_line.split(" ")[1]), headers=headers, body=body)

    async def responses_until_closed(self) -> list[RawResponse]:
        """All answers until the server closes the connection."""
        responses = []
        while (response := await self.response()) is not None:
            responses.append(response)
        return responses

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
