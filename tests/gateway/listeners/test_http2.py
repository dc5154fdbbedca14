"""What the node's HTTP/2 does with frames when several write at a time."""

import asyncio
from typing import Any

from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Event, RawData
from hypercorn.typing import ConnectionState

from gateway.listeners.http2 import Http2Protocol


class Socket:
    """Takes bytes when it is told to."""

    def __init__(self) -> None:
        self.taken = b""
        self.goes_on = asyncio.Event()
        self.is_asked = asyncio.Event()

    async def send(self, event: Event) -> None:
        assert isinstance(event, RawData)
        self.taken += event.data
        self.is_asked.set()
        await self.goes_on.wait()


async def test_frames_of_a_writer_that_is_cancelled_are_not_lost() -> None:
    socket = Socket()
    nothing: Any = None
    context = WorkerContext(None)
    protocol = Http2Protocol(nothing, Config(), context, nothing, ConnectionState({}), False, None, None, socket.send)
    protocol.connection.initiate_connection()
    first = asyncio.create_task(protocol._flush())
    await socket.is_asked.wait()
    protocol.connection.ping(b"from-2nd")
    second = asyncio.create_task(protocol._flush())
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({second})
    socket.goes_on.set()
    await first
    protocol.connection.ping(b"from-3rd")
    await protocol._flush()
    assert socket.taken.index(b"from-2nd") < socket.taken.index(b"from-3rd")
