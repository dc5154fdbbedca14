"""What tests of the cluster manager have in common: one that runs, and a server behind TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from gateway.config.upstream import UpstreamConfig
from gateway.upstream.cluster_manager import ClusterManager
from tests.gateway.upstream.calls import turns
from tests.support.http_wire import chunk


@asynccontextmanager
async def managing(
    *upstreams: UpstreamConfig, on_health_change: Callable[[], None] = lambda: None
) -> AsyncIterator[ClusterManager]:
    """A manager of these upstreams that runs until the end of the block."""
    manager = ClusterManager(random=Random(1), on_health_change=on_health_change)
    manager.reconcile(upstreams)
    running = asyncio.create_task(manager.run())
    await turns(5)
    try:
        yield manager
        assert not running.done(), running.exception()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert watchers() == []


def watchers() -> list[str]:
    """The names of the watchers that run."""
    kinds = ("health check ", "ejections ", "resolver ")
    tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith(kinds) and not task.cancelling()]
    return sorted(task.get_name() for task in tasks)


class SlowServer:
    """Answers every request with chunks, one each time the test lets it, and counts its connections."""

    def __init__(self) -> None:
        self.port = 0
        self.open = 0
        self.hosts: list[str] = []
        self.permits = asyncio.Semaphore(0)
        self.changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._count(1)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.hosts.append(head.lower().partition(b"\r\nhost: ")[2].partition(b"\r\n")[0].decode())
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                for piece in (b"first", b"last"):
                    await self.permits.acquire()
                    writer.write(chunk(piece))
                writer.write(b"0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        await self._count(-1)

    async def _count(self, by: int) -> None:
        async with self.changed:
            self.open += by
            self.changed.notify_all()

    async def until_open(self, count: int) -> None:
        """Waits until so many connections are open."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.open == count)


@asynccontextmanager
async def slow_server(context: ssl.SSLContext | None = None) -> AsyncIterator[SlowServer]:
    """One that listens."""
    server = SlowServer()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context) as listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server
        await server.until_open(0)
