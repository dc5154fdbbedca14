"""A server that does what a function says with each connection, from the first byte on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawBackend:
    """Its address, and which connections have ended on the other side."""

    def __init__(self) -> None:
        self.address = ""
        self.connections = 0
        self.gone = asyncio.Semaphore(0)
        """Released when a handler finds that its client has gone, or has been cut off."""


@asynccontextmanager
async def raw_backend(handler: Handler) -> AsyncIterator[RawBackend]:
    """Listens on a free port of the loopback. A handler's fault is raised at the end; a broken connection is none."""
    backend = RawBackend()
    tasks: set[asyncio.Task[None]] = set()
    faults: list[Exception] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            backend.gone.release()
        except Exception as fault:
            faults.append(fault)
        finally:
            tasks.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    backend.address = f"{host}:{port}"
    try:
        yield backend
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert faults == []


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """A request's head. Raises `IncompleteReadError` when there comes no more."""
    return await reader.readuntil(b"\r\n\r\n")


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """The next chunk of a body; empty for the last. Raises `IncompleteReadError` when the client is cut off."""
    size = int(await reader.readuntil(b"\r\n"), 16)
    return (await reader.readexactly(size + 2))[:-2]


async def until_gone(reader: asyncio.StreamReader) -> None:
    """Takes what comes until the client goes; then raises `ConnectionError`."""
    while await reader.read(65536):
        pass
    raise ConnectionResetError("the client has gone")
