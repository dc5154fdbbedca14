"""A scripted HTTP/1.1 upstream on a real socket: it answers, stalls, cuts and lies as a test tells it, and remembers
what it was sent."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.support.http_wire import ReceivedRequest, RequestReader, json_response
from tests.support.scripts import Script, chat

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, with no time to send what is left


class FaultyUpstream:
    """A model server in this process that does what its scripts say.

    `script` answers every request; scripts put in `next` are used up first, one a request. `GET /health` is answered
    with `health_status` and counted apart, so that health checks do not disturb a test.
    """

    def __init__(self) -> None:
        self.script: Script = chat()
        self.next: deque[Script] = deque()
        self.health_status = 200
        self.health_checks = 0
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self.disconnects = 0
        """Clients that left before their answer was complete."""
        self.errors: list[Exception] = []
        """What went wrong in scripts, or was no HTTP at all."""
        self.changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """`host:port` while it listens."""
        assert self._server is not None, "it is stopped"
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    @property
    def url(self) -> str:
        """Base URL while it listens."""
        return f"http://{self.address}"

    async def start(self, port: int = 0) -> None:
        """Listens; with the port of before, it comes back where it was."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)

    async def stop(self) -> None:
        """Stops listening and breaks all connections, as a killed process does."""
        if self._server is None:
            return
        self._server.close()
        for writer in tuple(self._writers):
            _reset(writer)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server = None

    async def wait_for_requests(self, count: int) -> None:
        """Waits until that many requests have come in all."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.requests) >= count)

    async def wait_for_disconnects(self, count: int) -> None:
        """Waits until that many clients have left before their answer was complete."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.disconnects >= count)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        try:
            await self._serve(_Connection(reader, writer))
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            self.errors.append(error)
        except asyncio.CancelledError:
            pass  # by `stop`; Python 3.11 would log a traceback for each connection
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _serve(self, connection: "_Connection") -> None:
        receiving = asyncio.create_task(connection.receive())
        try:
            while (request := await connection.next_request()) is not None:
                await self._answer(connection, request)
        finally:
            await _cancel(receiving)

    async def _answer(self, connection: "_Connection", request: ReceivedRequest) -> None:
        if request.target == "/health":
            self.health_checks += 1
            with suppress(ConnectionError):
                await connection.send(json_response(self.health_status, {"status": "scripted"}))
            return
        script = self.next.popleft() if self.next else self.script
        async with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
        await self._run(script, _ScriptedExchange(connection, request))

    async def _run(self, script: Script, exchange: "_ScriptedExchange") -> None:
        """Runs the script; a client that leaves ends it, whatever it waits for."""
        acting = asyncio.create_task(script(exchange))
        leaving = asyncio.create_task(exchange.until_client_gone())
        try:
            await asyncio.wait({acting, leaving}, return_when="FIRST_COMPLETED")
            if not acting.done():
                raise ConnectionResetError("the client has gone")
            acting.result()
        except ConnectionError:
            await self._count_disconnect()
        finally:
            await _cancel(acting, leaving)

    async def _count_disconnect(self) -> None:
        async with self.changed:
            self.disconnects += 1
            self.changed.notify_all()


class _Connection:
    """Reads all the time, so that a client's going is seen while a script runs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.gone = asyncio.Event()
        self._stream = reader
        self._requests = RequestReader()
        self._received = asyncio.Event()

    async def receive(self) -> None:
        """Takes bytes until the client has gone."""
        try:
            while data := await self._stream.read(65536):
                self._requests.feed(data)
                self._received.set()
        except ConnectionError:
            pass  # broken is gone, like closed
        finally:
            self.gone.set()
            self._received.set()

    async def next_request(self) -> ReceivedRequest | None:
        """The next request; None when the client has gone, or we have closed."""
        while (request := self._requests.next_request()) is None:
            if self.gone.is_set() or self.writer.is_closing():
                return None
            self._received.clear()
            await self._received.wait()
        return None if self.writer.is_closing() else request

    async def send(self, data: bytes) -> None:
        if self.gone.is_set():
            raise ConnectionResetError("the client has gone")
        self.writer.write(data)
        await self.writer.drain()


class _ScriptedExchange:
    """What a script holds: see `scripts.Exchange`."""

    def __init__(self, connection: _Connection, request: ReceivedRequest) -> None:
        self.request = request
        self._connection = connection

    async def send(self, data: bytes) -> None:
        await self._connection.send(data)

    async def until_client_gone(self) -> None:
        await self._connection.gone.wait()
        raise ConnectionResetError("the client has gone")

    def close(self) -> None:
        self._connection.writer.close()

    def reset(self) -> None:
        _reset(self._connection.writer)


async def _cancel(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()


@pytest.fixture
async def faulty_upstream() -> AsyncIterator[FaultyUpstream]:
    """One faulty upstream, listening."""
    upstream = FaultyUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()
    assert upstream.errors == []
