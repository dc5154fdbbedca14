"""A server of HTTP/2 with prior knowledge on a real socket, whose requests are handled by a function each."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

T = TypeVar("T")
Headers = Sequence[tuple[str, str]]


class ClientLeftError(Exception):
    """The client has reset the stream, or its connection has ended."""


class BackendStream:
    """One request, and the answer to it."""

    def __init__(self, connection: "_Connection", stream_id: int, headers: Headers) -> None:
        self.headers = headers
        self._connection = connection
        self._stream_id = stream_id
        self.pieces: asyncio.Queue[tuple[bytes, int] | None] = asyncio.Queue()
        self.left = asyncio.Event()

    def header(self, name: str) -> str | None:
        """The first value of a header or pseudo-header."""
        return next((value for key, value in self.headers if key == name), None)

    async def read(self) -> bytes:
        """The next piece of the body; empty at the end."""
        piece = await self._or_left(self.pieces.get())
        if piece is None:
            return b""
        self._connection.h2.acknowledge_received_data(piece[1], self._stream_id)
        self._connection.flush()
        return piece[0]

    async def read_all(self) -> bytes:
        """The whole body."""
        parts = []
        while part := await self.read():
            parts.append(part)
        return b"".join(parts)

    def start(self, status: int = 200, *headers: tuple[str, str]) -> None:
        """Sends the head of the answer."""
        self._connection.h2.send_headers(self._stream_id, [(":status", str(status)), *headers])
        self._connection.flush()

    async def send(self, data: bytes) -> None:
        """Sends a part of the body, as fast as the client takes it."""
        while data:
            window = self._connection.h2.local_flow_control_window(self._stream_id)
            size = min(window, self._connection.h2.max_outbound_frame_size)
            if size > 0:
                self._connection.h2.send_data(self._stream_id, data[:size])
                data = data[size:]
                self._connection.flush()
                await self._connection.writer.drain()
            else:
                await self._or_left(self._connection.next_change())

    def end(self, *trailers: tuple[str, str]) -> None:
        """Ends the answer."""
        if trailers:
            self._connection.h2.send_headers(self._stream_id, trailers, end_stream=True)
        else:
            self._connection.h2.end_stream(self._stream_id)
        self._connection.flush()

    def reset(self, code: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        """Breaks the answer off."""
        self._connection.h2.reset_stream(self._stream_id, code)
        self._connection.flush()

    async def until_left(self) -> None:
        """Waits until the client gives the request up; then raises `ClientLeftError`."""
        await self.left.wait()
        raise ClientLeftError

    async def _or_left(self, coming: Coroutine[Any, Any, T]) -> T:
        """What comes, unless the client leaves before."""
        waiting = asyncio.ensure_future(coming)
        leaving = asyncio.ensure_future(self.left.wait())
        try:
            await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise ClientLeftError
            return waiting.result()
        finally:
            for each in (waiting, leaving):
                each.cancel()


Handler = Callable[[BackendStream], Awaitable[None]]


class Http2Backend:
    """Its address, and what it was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.connections = 0
        self.streams: list[BackendStream] = []
        self.left = asyncio.Semaphore(0)
        """Released for each request that its client gave up."""


class _Connection:
    def __init__(self, writer: asyncio.StreamWriter, backend: Http2Backend, handler: Handler) -> None:
        self.writer = writer
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        self.faults: list[Exception] = []
        self._backend = backend
        self._handler = handler
        self._streams: dict[int, BackendStream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    async def run(self, reader: asyncio.StreamReader) -> None:
        self.h2.initiate_connection()
        self.flush()
        try:
            with suppress(ConnectionError):
                while data := await reader.read(65536):
                    for event in self.h2.receive_data(data):
                        self._take(event)
                    self.flush()
                    async with self._changed:
                        self._changed.notify_all()
        finally:
            for stream in self._streams.values():
                stream.left.set()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def next_change(self) -> None:
        async with self._changed:
            await self._changed.wait()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived(stream_id=int(number), headers=headers):
                pairs = [(str(name), str(value)) for name, value in headers or ()]
                stream = BackendStream(self, number, pairs)
                self._streams[number] = stream
                self._backend.streams.append(stream)
                self._tasks.add(asyncio.create_task(self._handle(stream)))
            case DataReceived(stream_id=int(number), data=data):
                self._streams[number].pieces.put_nowait((data or b"", event.flow_controlled_length or 0))
            case StreamEnded(stream_id=int(number)):
                self._streams[number].pieces.put_nowait(None)
            case StreamReset(stream_id=int(number)):
                self._streams[number].left.set()

    async def _handle(self, stream: BackendStream) -> None:
        try:
            await self._handler(stream)
        except (ClientLeftError, ConnectionError):
            self._backend.left.release()
        except ProtocolError as fault:
            if stream.left.is_set():
                self._backend.left.release()
            else:
                self.faults.append(fault)
        except Exception as fault:
            self.faults.append(fault)


@asynccontextmanager
async def http2_backend(handler: Handler) -> AsyncIterator[Http2Backend]:
    """Listens on a free port of the loopback. A handler's fault is raised at the end."""
    backend = Http2Backend()
    tasks: set[asyncio.Task[None]] = set()
    faults: list[Exception] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        backend.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        connection = _Connection(writer, backend, handler)
        try:
            await connection.run(reader)
        finally:
            tasks.discard(task)
            faults.extend(connection.faults)
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
