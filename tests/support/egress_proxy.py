"""An HTTP proxy on the way out, on a free port of the loopback: it notes what it is asked for, and does it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.raw_backend import RawBackend, raw_backend, read_head


class EgressProxy:
    """Its URL, and the request lines it has seen. With a `refusal` it connects to nobody."""

    def __init__(self, backend: RawBackend, *, refusal: int = 0) -> None:
        self.url = f"http://{backend.address}"
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.refusal = refusal


@asynccontextmanager
async def egress_proxy(*, refusal: int = 0) -> AsyncIterator[EgressProxy]:
    """A proxy for `CONNECT`, and for requests with a whole URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await read_head(reader)).decode()
        line, _, rest = head.partition("\r\n")
        method, target, _ = line.split(" ")
        proxy.asked.append(f"{method} {target}")
        proxy.heads.append(head)
        if refusal:
            writer.write(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % refusal)
            await writer.drain()
            return
        authority = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = authority.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            path = "/" + target.split("/", 3)[3]
            back.write(f"{method} {path} HTTP/1.1\r\n{rest}".encode())
        await asyncio.gather(_pipe(reader, back), _pipe(there, writer))

    async with raw_backend(serve) as backend:
        proxy = EgressProxy(backend, refusal=refusal)
        yield proxy


async def _pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()
