"""A client of HTTP/2, with prior knowledge or over TLS, that decides itself when it takes data, resets streams and
leaves."""

import asyncio
import json
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

_READ = 65536


class Http2Stream:
    """One request and as much of its answer as has come."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Sequence[tuple[str, str]] = ()
        self.body = b""
        self.is_complete = False
        self.is_reset = False


class Http2Client:
    """One connection. Data is acknowledged as it comes unless `takes_data` is off."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.takes_data = True
        self.is_told_to_go = False
        self.is_closed = False
        self.sent_bytes = 0
        self._reader = reader
        self._writer = writer
        # What is sent is the tests' affair: they also send what no client should.
        configuration = H2Configuration(
            client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._protocol = H2Connection(configuration)
        self._streams: defaultdict[int, Http2Stream] = defaultdict(Http2Stream)
        self._changed = asyncio.Condition()

    async def start(self) -> None:
        """Says what both sides begin with."""
        self._protocol.initiate_connection()
        await self._flush()

    async def run(self) -> None:
        """Reads until the connection ends."""
        try:
            while data := await self._reader.read(_READ):
                for event in self._protocol.receive_data(data):
                    self._handle(event)
                await self._flush()
                await self._notify()
        except ConnectionError:
            pass  # broken is closed
        finally:
            self.is_closed = True
            await self._notify()

    async def post(self, body: object, *, path: str = "/v1/chat/completions") -> int:
        """Sends a request with a JSON body and gives its number."""
        data = json.dumps(body).encode()
        number = await self.begin_post(path, "content-length", str(len(data)))
        await self.send_data(number, data)
        await self.end(number)
        return number

    async def begin_post(self, path: str, *header: str) -> int:
        """Sends the headers of a request, and leaves its body to `send_data`."""
        own = [(b":method", b"POST"), (b":path", path.encode()), (b":scheme", b"http"), (b":authority", b"gateway")]
        pairs = zip(*[(text.encode() for text in header)] * 2, strict=True)
        return await self.begin([*own, *pairs])

    async def begin(self, fields: Sequence[tuple[bytes, bytes]], *, ends: bool = False) -> int:
        """Sends these header fields as they are, and with `ends` says that this is the whole request."""
        number = self._protocol.get_next_available_stream_id()
        self._protocol.send_headers(number, fields, end_stream=ends)
        await self._flush()
        return number

    async def send_data(self, number: int, data: bytes) -> None:
        """Sends a part of a request's body, as fast as the server takes it."""
        while data and not self.is_closed and not self._streams[number].is_reset:
            window = min(self._protocol.local_flow_control_window(number), self._protocol.max_outbound_frame_size)
            if window == 0:
                async with self._changed:
                    await self._changed.wait()
                continue
            self._protocol.send_data(number, data[:window])
            self.sent_bytes += len(data[:window])
            data = data[window:]
            await self._flush()

    async def end(self, number: int, trailers: Sequence[tuple[bytes, bytes]] | None = None) -> None:
        """Says that a request's body is complete."""
        with suppress(ProtocolError):  # the server may have given the request up
            if trailers is None:
                self._protocol.end_stream(number)
            else:
                self._protocol.send_headers(number, trailers, end_stream=True)
        await self._flush()

    async def reset(self, number: int) -> None:
        """Gives a request up."""
        self._protocol.reset_stream(number)
        await self._flush()

    async def status(self, number: int) -> int:
        """Waits for the status of an answer; 0 if the connection ends first."""
        stream = self._streams[number]
        async with self._changed:
            await self._changed.wait_for(lambda: stream.status or self.is_closed)
        return stream.status

    async def answer(self, number: int) -> Http2Stream:
        """Waits for the whole answer of a request, or the end of the stream or connection."""
        stream = self._streams[number]
        async with self._changed:
            await self._changed.wait_for(lambda: stream.is_complete or stream.is_reset or self.is_closed)
        return stream

    async def body_with(self, number: int, part: bytes) -> bytes:
        """Waits until that has come within the body, and gives what has come."""
        stream = self._streams[number]
        async with self._changed:
            await self._changed.wait_for(lambda: part in stream.body or self.is_closed)
        return stream.body

    def _handle(self, event: Event) -> None:
        match event:
            case ResponseReceived(stream_id=int(number), headers=headers):
                pairs = [(name.decode(), value.decode("latin-1")) for name, value in headers or ()]
                self._streams[number].status = int(dict(pairs)[":status"])
                self._streams[number].headers = pairs
            case DataReceived(stream_id=int(number), data=data):
                self._streams[number].body += data or b""
                if self.takes_data:
                    self._protocol.acknowledge_received_data(event.flow_controlled_length or 0, number)
            case StreamEnded(stream_id=int(number)):
                self._streams[number].is_complete = True
            case StreamReset(stream_id=int(number)):
                self._streams[number].is_reset = True
            case ConnectionTerminated():
                self.is_told_to_go = True

    async def _flush(self) -> None:
        with suppress(ConnectionError):  # `run` finds out
            self._writer.write(self._protocol.data_to_send())
            await self._writer.drain()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def http2_client(address: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Http2Client]:
    """A connection to `host:port`; over TLS the server must have agreed to HTTP/2."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
    if tls is not None:
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    client = Http2Client(reader, writer)
    await client.start()
    running = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        writer.close()
        await asyncio.wait({running})
        running.result()
