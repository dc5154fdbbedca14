"""A TCP proxy that can go dead without closing anything, as a host does that loses its power."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FrozenProxy:
    """Passes bytes on until it is frozen; then it takes them and passes nothing on."""

    def __init__(self, target_port: int) -> None:
        self.address = ""
        self._target_port = target_port
        self._is_frozen = False
        self._from_client = 0
        self._has_more = asyncio.Event()
        self._pumps: set[asyncio.Task[None]] = set()

    def freeze(self) -> None:
        """Goes dead."""
        self._is_frozen = True

    async def bytes_from_client(self, count: int) -> None:
        """Waits until the clients have sent this many bytes more."""
        goal = self._from_client + count
        while self._from_client < goal:
            self._has_more.clear()
            await self._has_more.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handles one connection."""
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        for pump in (self._pump(reader, target_writer, True), self._pump(target_reader, writer, False)):
            self._pumps.add(asyncio.create_task(pump))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_from_client: bool) -> None:
        try:
            while data := await reader.read(65536):
                if is_from_client:
                    self._from_client += len(data)
                    self._has_more.set()
                if not self._is_frozen:
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def close(self) -> None:
        """Ends all connections."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


@asynccontextmanager
async def frozen_proxy(target_port: int) -> AsyncIterator[FrozenProxy]:
    """A proxy on a free port, closed in the end."""
    proxy = FrozenProxy(target_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
