"""A TCP proxy in front of any server that does faults to its answers: they come cut, late, slowly or as garbage."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.support.faults import Cut, Fault, Garbage, Reset, Slow, Stall, noise, split

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, with no time to send what is left
_READ_BYTES = 65536
_PACES_PER_S = 20


class FaultProxy:
    """Listens on loopback and passes everything on to one server, unless it has a `fault`.

    A fault begins for connections that are there already, too, with the next bytes they bring; when it is taken away,
    those that it has not ended go on where they were. A client that ends its side ends the connection. `start` and
    `stop` must be called, and may be again.
    """

    def __init__(self, server: str, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """`server` is `host:port`."""
        self._server = server
        self._sleep = sleep
        self._fault: Fault | None = None
        self._changed = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self.connections = 0
        """How many have been made."""

    @property
    def address(self) -> str:
        """`host:port` while it listens."""
        assert self._listener is not None, "it is stopped"
        host, port = self._listener.sockets[0].getsockname()
        return f"{host}:{port}"

    @property
    def fault(self) -> Fault | None:
        """What is done to answers; None lets all pass."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault | None) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    async def start(self, port: int = 0) -> None:
        """Listens; with the port of before, it comes back where it was."""
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", port)

    async def stop(self) -> None:
        """Refuses connections, and breaks those there are."""
        if self._listener is None:
            return
        self._listener.close()
        for link in tuple(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)
        self._listener = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        self.connections += 1
        try:
            with suppress(OSError):  # who breaks a connection, or is not there, is part of what is tried out
                await self._link(reader, writer)
        except asyncio.CancelledError:
            _reset(writer)  # nobody but `stop` cancels, and asyncio's streams take a cancelled task for a fault
        finally:
            self._links.discard(task)
            writer.close()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._server.rsplit(":", 1)
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        answers = _Answers(self, server_reader, writer)
        pumps = [
            asyncio.create_task(_pass_on(reader, server_writer, answers)),
            asyncio.create_task(answers.run()),
        ]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in done:
                pump.result()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            server_writer.close()

    async def until_changed(self) -> None:
        """Waits until the fault is another."""
        await self._changed.wait()

    async def sleep(self, seconds: float) -> None:
        """As given."""
        await self._sleep(seconds)


class _Answers:
    """One connection's bytes from the server to the client."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.passed = 0
        """Bytes of the present answer."""
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(0)  # what has been written is on its way before a fault ends it

    async def run(self) -> None:
        """Returns when either side, or the fault, has ended the connection."""
        while data := await self._reader.read(_READ_BYTES):
            while data:
                rest = await self._pass(data)
                if rest is None:
                    return
                data = rest

    async def _pass(self, data: bytes) -> bytes | None:
        """Does to the data what the present fault says, and returns what is left of it; None if it has ended the
        connection."""
        match self._proxy.fault:
            case None:
                return await self._send(data)
            case Slow(bytes_per_s):
                size = max(1, int(bytes_per_s / _PACES_PER_S))
                await self._proxy.sleep(min(size, len(data)) / bytes_per_s)
                return await self._send(data[:size], data[size:])
            case Garbage(after):
                head, rest = split(data, self.passed, after)
                return await self._send(head + noise(len(rest)))
            case Cut(after) | Reset(after) | Stall(after) as fault:
                head, rest = split(data, self.passed, after)
                await self._send(head)
                return await self._end(fault, rest) if rest else rest

    async def _end(self, fault: Cut | Reset | Stall, rest: bytes) -> bytes | None:
        if isinstance(fault, Stall):
            await self._proxy.until_changed()
            return rest
        if isinstance(fault, Reset):
            _reset(self._writer)
        return None

    async def _send(self, data: bytes, rest: bytes = b"") -> bytes:
        self._writer.write(data)
        await self._writer.drain()
        self.passed += len(data)
        return rest


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: _Answers) -> None:
    """The client's bytes to the server, until the client ends the connection."""
    while data := await reader.read(_READ_BYTES):
        answers.passed = 0
        writer.write(data)
        await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
