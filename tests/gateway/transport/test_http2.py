"""HTTP/2 to servers of h2 on raw sockets, and to peers that break its rules."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from yarl import URL

from gateway.config.upstream import TlsConfig
from gateway.transport.errors import AnswerTooLargeError, ConnectError, ConnectionBrokenError
from gateway.transport.http2 import Http2Transport
from gateway.transport.messages import Body, HttpResponse
from gateway.transport.tls import HTTP2_ALPN, client_context
from tests.gateway.transport.certificates import TestCertificates
from tests.support.polling import eventually

Answer = Callable[["Peer", events.Event], Awaitable[None] | None]


class ClientLeftError(Exception):
    """What the iterator of a client that goes away raises."""


class Peer:
    """The server's side of one connection: h2 on a socket. `answer` is called with every event."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer, max_streams: int
    ) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self.h2.local_settings = Settings(
            client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: max_streams}
        )
        self.writer = writer
        self._reader = reader
        self._answer = answer

    async def run(self) -> None:
        """Serves until the client leaves."""
        self.h2.initiate_connection()
        self.flush()
        while data := await self._reader.read(65536):
            for event in self.h2.receive_data(data):
                result = self._answer(self, event)
                if result is not None:
                    await result
            self.flush()

    def flush(self) -> None:
        """Sends what h2 has made."""
        self.writer.write(self.h2.data_to_send())

    def head(self, stream_id: int, *, end: bool = False) -> None:
        """An answer's head."""
        self.h2.send_headers(stream_id, [(b":status", b"200"), (b"x-a", b"1"), (b"x-a", b"2")], end_stream=end)


class Server:
    """Counts what happened to all its connections."""

    def __init__(self, answer: Answer, max_streams: int) -> None:
        self.max_streams = max_streams
        self.answer = answer
        self.peers: list[Peer] = []
        self.seen: list[events.Event] = []
        self.left = asyncio.Event()
        self.changed = asyncio.Condition()
        self.url = URL()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, self._handle, self.max_streams)
        self.peers.append(peer)
        with suppress(ConnectionError):
            await peer.run()
        writer.close()
        self.left.set()

    async def _handle(self, peer: Peer, event: events.Event) -> None:
        result = self.answer(peer, event)
        if result is not None:
            await result
        async with self.changed:
            self.seen.append(event)
            self.changed.notify_all()

    async def wait_for(self, kind: type[events.Event], count: int = 1) -> events.Event:
        async with self.changed:
            await self.changed.wait_for(lambda: sum(isinstance(each, kind) for each in self.seen) >= count)
        return next(each for each in self.seen if isinstance(each, kind))


@asynccontextmanager
async def serving(
    answer: Answer, context: ssl.SSLContext | None = None, max_streams: int = 100
) -> AsyncIterator[Server]:
    server = Server(answer, max_streams)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    scheme = "http" if context is None else "https"
    server.url = URL(f"{scheme}://127.0.0.1:{listener.sockets[0].getsockname()[1]}/a%2Fb?c=d%20e", encoded=True)
    async with listener:
        yield server


@pytest.fixture
async def transport() -> AsyncIterator[Http2Transport]:
    before = asyncio.all_tasks()

    async def have_all_left() -> bool:
        return asyncio.all_tasks() - {asyncio.current_task()} <= before

    transport = Http2Transport(idle_timeout_s=60)
    yield transport
    async with asyncio.timeout(5):
        await transport.close_when_idle()
    assert transport.open_connections == 0
    await eventually(have_all_left, timeout_s=5)


async def send(
    transport: Http2Transport,
    url: URL,
    body: Body = None,
    headers: tuple[tuple[str, str], ...] = (),
    server_name: str | None = None,
) -> HttpResponse:
    return await transport.send("POST", url, headers=headers, body=body, connect_timeout_s=5, server_name=server_name)


async def send_all(transport: Http2Transport, url: URL, body: Body = None, limit: int = 10**8) -> bytes:
    answer = await send(transport, url, body)
    try:
        return await answer.read_all(limit)
    finally:
        answer.close()


def echo(peer: Peer, event: events.Event) -> None:
    """Answers with what was sent, at once."""
    match event:
        case events.RequestReceived():
            peer.head(event.stream_id or 0)
        case events.DataReceived():
            peer.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            peer.h2.send_data(event.stream_id or 0, event.data or b"")
        case events.StreamEnded():
            peer.h2.end_stream(event.stream_id or 0)


def only_head(peer: Peer, event: events.Event) -> None:
    if isinstance(event, events.RequestReceived):
        peer.head(event.stream_id or 0)


def nothing(peer: Peer, event: events.Event) -> None:
    return


# Requests and answers.


async def test_request_and_answer(transport: Http2Transport) -> None:
    async with serving(echo) as server:
        answer = await send(transport, server.url, b"{}", (("X-Sent", "y"), ("Connection", "x"), ("te", "gzip")))
        assert (answer.status, answer.header("X-A"), answer.header("x-none")) == (200, "1", None)
        assert list(answer.headers) == [(b"x-a", b"1"), (b"x-a", b"2")]
        assert await answer.read_all(10) == b"{}"
        assert await answer.read() == b""
        answer.close()
        request = await server.wait_for(events.RequestReceived)
    assert isinstance(request, events.RequestReceived)
    assert dict(request.headers or ()) == {
        b":method": b"POST",
        b":scheme": b"http",
        b":authority": server.url.authority.encode(),
        b":path": b"/a%2Fb?c=d%20e",
        b"x-sent": b"y",
        b"content-length": b"2",
    }


@pytest.mark.parametrize("header", [("x", "a\r\nb"), ("x", "a\0"), ("bad name", "x"), ("", "x"), (":path", "/")])
async def test_headers_that_cannot_be_sent(transport: Http2Transport, header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        await send(transport, URL("http://127.0.0.1:1/"), None, (header,))


async def test_requests_share_a_connection(transport: Http2Transport) -> None:
    async with serving(echo) as server:
        bodies = [str(number).encode() for number in range(50)]
        assert await asyncio.gather(*(send_all(transport, server.url, body) for body in bodies)) == bodies
        assert len(server.peers) == transport.open_connections == 1


async def test_host_header_is_the_authority(transport: Http2Transport) -> None:
    async with serving(echo) as server:
        (await send(transport, server.url, None, (("Host", "box.example"),))).close()
        request = await server.wait_for(events.RequestReceived)
    assert isinstance(request, events.RequestReceived)
    assert (b":authority", b"box.example") in (request.headers or ())


@pytest.mark.parametrize("streamed", [False, True])
async def test_large_bodies_keep_to_the_windows(transport: Http2Transport, streamed: bool) -> None:
    """Beyond any window, both ways at once: h2 on the other side breaks the connection if one is overrun."""
    size = 3_000_000
    received = bytearray()

    def collect(peer: Peer, event: events.Event) -> None:
        match event:
            case events.DataReceived():
                received.extend(event.data or b"")
                peer.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            case events.StreamEnded():
                peer.head(event.stream_id or 0, end=True)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield bytes(size // 30)

    async with serving(collect) as server:
        assert await send_all(transport, server.url, pieces() if streamed else bytes(size)) == b""
    assert len(received) == size


async def pour(peer: Peer, stream_id: int, size: int) -> None:
    """Sends a body as the client's windows allow, and not more."""
    while size:
        room = min(peer.h2.local_flow_control_window(stream_id), peer.h2.max_outbound_frame_size, size)
        if room <= 0:
            await asyncio.sleep(0.001)
            continue
        peer.h2.send_data(stream_id, bytes(room))
        size -= room
        peer.flush()
    peer.h2.end_stream(stream_id)
    peer.flush()


async def test_slow_readers_stop_nobody_else(transport: Http2Transport) -> None:
    """Many streams that nobody reads hold what their windows let them; one that is read gets all of its body."""
    pouring: set[asyncio.Task[None]] = set()

    def answer(peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            peer.head(event.stream_id or 0)
            pouring.add(asyncio.create_task(pour(peer, event.stream_id or 0, 4_000_000)))

    async with serving(answer) as server:
        unread = [await send(transport, server.url) for _ in range(70)]
        assert len(await send_all(transport, server.url)) == 4_000_000
        assert sum(task.done() for task in pouring) == 1
        assert len(await unread[0].read_all(10**8)) == 4_000_000
        for task in pouring:
            task.cancel()
        for each in unread:
            each.close()


async def test_answer_over_the_limit_is_given_up(transport: Http2Transport) -> None:
    async def answer(peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            peer.head(event.stream_id or 0)
            peer.h2.send_data(event.stream_id or 0, bytes(10_000))

    async with serving(answer) as server:
        with pytest.raises(AnswerTooLargeError):
            await send_all(transport, server.url, limit=9_999)
        await server.wait_for(events.StreamReset)


# Endings.


async def test_early_close_resets_the_stream_alone(transport: Http2Transport) -> None:
    async with serving(only_head) as server:
        first, second = await send(transport, server.url), await send(transport, server.url)
        first.close()
        first.close()
        reset = await server.wait_for(events.StreamReset)
        assert isinstance(reset, events.StreamReset)
        assert (reset.stream_id, reset.error_code) == (1, ErrorCodes.CANCEL)
        server.peers[0].h2.send_data(3, b"still here", end_stream=True)
        server.peers[0].flush()
        assert await second.read_all(100) == b"still here"
        second.close()


async def test_cancelled_request_resets_the_stream(transport: Http2Transport) -> None:
    async with serving(nothing) as server:
        asking = asyncio.create_task(send(transport, server.url))
        await server.wait_for(events.RequestReceived)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.wait_for(events.StreamReset)


async def test_abort_wakes_the_reader_with_the_error(transport: Http2Transport) -> None:
    async with serving(only_head) as server:
        answer = await send(transport, server.url)
        reading = asyncio.create_task(answer.read())
        await asyncio.sleep(0)
        answer.abort(ClientLeftError())
        for wait in (reading, answer.read()):
            with pytest.raises(ClientLeftError):
                await wait
        answer.close()
        await server.wait_for(events.StreamReset)


async def test_answer_before_the_body_is_read(transport: Http2Transport) -> None:
    is_left = asyncio.Event()

    def refuse(peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            peer.head(event.stream_id or 0)
            peer.h2.send_data(event.stream_id or 0, b"too large", end_stream=True)

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            is_left.set()

    async with serving(refuse) as server:
        answer = await send(transport, server.url, endless())
        assert await answer.read_all(100) == b"too large"
        answer.close()
        await server.wait_for(events.StreamReset)
        await is_left.wait()


async def test_error_of_the_iterator(transport: Http2Transport) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise ClientLeftError

    async with serving(nothing) as server:
        with pytest.raises(ClientLeftError):
            await send(transport, server.url, pieces())
        await server.wait_for(events.StreamReset)


def reset_with(code: ErrorCodes, *, after_head: bool = False) -> Answer:
    def answer(peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            if after_head:
                peer.head(event.stream_id or 0)
            peer.h2.reset_stream(event.stream_id or 0, code)

    return answer


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reset_with(ErrorCodes.REFUSED_STREAM), ConnectError),
        (reset_with(ErrorCodes.INTERNAL_ERROR), ConnectionBrokenError),
        (reset_with(ErrorCodes.CANCEL, after_head=True), ConnectionBrokenError),
        (reset_with(ErrorCodes.REFUSED_STREAM, after_head=True), ConnectionBrokenError),
    ],
)
async def test_reset_by_the_peer(
    transport: Http2Transport, answer: Answer, error: type[ConnectError | ConnectionBrokenError]
) -> None:
    async with serving(answer) as server:
        with pytest.raises(error):
            await send_all(transport, server.url)
        assert transport.open_connections == 1


async def test_reset_after_a_whole_answer_is_no_fault(transport: Http2Transport) -> None:
    """A server that wants no more of the request says so by NO_ERROR (RFC 9113, 8.1)."""

    def answer(peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            peer.head(event.stream_id or 0, end=True)
            peer.h2.reset_stream(event.stream_id or 0, ErrorCodes.NO_ERROR)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)

    async with serving(answer) as server:
        assert await send_all(transport, server.url, endless()) == b""


def goaway(last_stream_id: int) -> bytes:
    return struct.pack(">I", 8)[1:] + b"\x07\0" + struct.pack(">III", 0, last_stream_id, 0)


async def test_going_away(transport: Http2Transport) -> None:
    """What the peer will not do goes to a new connection, as new requests do; what it does goes on."""
    async with serving(nothing) as server:
        first, second = (asyncio.create_task(send_all(transport, server.url, b"x")) for _ in range(2))
        await server.wait_for(events.StreamEnded, 2)
        peer = server.peers[0]
        peer.writer.write(goaway(2**31 - 1) + goaway(1)[:5])
        peer.writer.write(goaway(1)[5:])
        await server.wait_for(events.StreamEnded, 3)
        assert len(server.peers) == 2
        for number, each in enumerate(server.peers):
            each.head(1)
            each.h2.send_data(1, str(number).encode(), end_stream=True)
            each.flush()
        assert (await first, await second) == (b"0", b"1")
        await server.left.wait()


async def test_backend_that_always_goes_away(transport: Http2Transport) -> None:
    def answer(peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            peer.writer.write(goaway(0))

    async with serving(answer) as server:
        with pytest.raises(ConnectError, match=r"^the backend is going away$"):
            await send(transport, server.url)
        assert len(server.peers) == 2


async def test_going_away_with_a_body_that_cannot_be_sent_again(transport: Http2Transport) -> None:
    def answer(peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.DataReceived):
            peer.writer.write(goaway(0))

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.Event().wait()

    async with serving(answer) as server:
        with pytest.raises(ConnectError, match=r"^the backend is going away$"):
            await send(transport, server.url, pieces())
        assert len(server.peers) == 1


@pytest.mark.parametrize(("bound", "connections"), [(None, 3), (2, 2)])
async def test_more_streams_than_a_connection_takes(bound: int | None, connections: int) -> None:
    """Each connection takes two streams; what has no room gets another connection, or waits at the bound."""
    transport = Http2Transport(idle_timeout_s=60, max_connections_per_endpoint=bound)
    async with serving(only_head, max_streams=2) as server:
        asking = [asyncio.create_task(send(transport, server.url)) for _ in range(5)]
        await server.wait_for(events.RequestReceived, min(5, 2 * connections))
        assert transport.open_connections == connections
        for each in asyncio.as_completed(asking):
            (await each).close()
        await server.wait_for(events.StreamReset, 5)
        assert transport.open_connections == connections
    await transport.close_when_idle()


# Peers that are none.


async def test_nobody_listens(transport: Http2Transport) -> None:
    async with serving(nothing) as server:
        pass
    with pytest.raises(ConnectError, match=r"^connection refused$"):
        await send(transport, server.url)


async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def close_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


async def speak_http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    await reader.read()


@pytest.mark.parametrize(
    ("serve", "fault"),
    [
        (be_silent, "connection timed out"),
        (close_at_once, "the backend does not speak HTTP/2"),
        (speak_http1, "the backend does not speak HTTP/2|connection timed out"),
    ],
)
async def test_peer_that_does_not_speak_it(
    transport: Http2Transport, serve: Callable[..., Awaitable[None]], fault: str
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listener:
        url = URL(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/")
        with pytest.raises(ConnectError, match=f"^({fault})$"):
            await transport.send("GET", url, headers=[], body=None, connect_timeout_s=0.3)


@pytest.mark.parametrize("data", [b"\xff" * 100, b"\0\0\x01\x07" + bytes(6)], ids=["no frames", "small GOAWAY"])
@pytest.mark.parametrize("head", [False, True])
async def test_garbage_breaks_all_streams(transport: Http2Transport, data: bytes, head: bool) -> None:
    def answer(peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            if head:
                peer.head(event.stream_id or 0)
                peer.flush()
            peer.writer.write(data)

    async with serving(answer) as server:
        with pytest.raises(ConnectionBrokenError):
            await send_all(transport, server.url)
        await server.left.wait()


@pytest.mark.parametrize("head", [False, True])
async def test_connection_that_is_closed(transport: Http2Transport, head: bool) -> None:
    def answer(peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            if head:
                peer.head(event.stream_id or 0)
                peer.flush()
            peer.writer.close()

    async with serving(answer) as server:
        with pytest.raises(ConnectionBrokenError, match="connection closed"):
            await send_all(transport, server.url)


async def test_dead_peer_is_noticed() -> None:
    transport = Http2Transport(idle_timeout_s=60, keepalive_s=0.05, keepalive_timeout_s=0.05)
    blocked = asyncio.Event()

    async def stop(peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            await blocked.wait()  # and reads, and answers, no more

    async with serving(stop) as server:
        with pytest.raises(ConnectionBrokenError, match="no answer to a keepalive ping"):
            await send(transport, server.url)
        blocked.set()
        await server.left.wait()
    await transport.close()


async def test_slow_peer_that_answers_pings_is_kept() -> None:
    transport = Http2Transport(idle_timeout_s=60, keepalive_s=0.02, keepalive_timeout_s=1)
    async with serving(only_head) as server:
        answer = await send(transport, server.url)
        await server.wait_for(events.PingReceived, 3)
        answer.close()
    await transport.close()


async def test_idle_connection_is_closed() -> None:
    transport = Http2Transport(idle_timeout_s=0.05)
    async with serving(echo) as server:
        assert await send_all(transport, server.url, b"a") == b"a"
        await server.left.wait()
        assert await send_all(transport, server.url, b"b") == b"b"
        assert len(server.peers) == 2
    await transport.close()


async def test_closing_waits_for_what_runs() -> None:
    transport = Http2Transport(idle_timeout_s=60)
    async with serving(only_head) as server:
        answer = await send(transport, server.url)
        closing = asyncio.create_task(transport.close_when_idle())
        await asyncio.sleep(0)
        assert not closing.done()
        answer.close()
        await closing
        with pytest.raises(ConnectError):
            await send(transport, server.url)


async def test_closing_does_not_wait_for_a_peer_that_does_not_read() -> None:
    transport = Http2Transport(idle_timeout_s=60)
    blocked = asyncio.Event()

    async def stop(peer: Peer, event: events.Event) -> None:
        if isinstance(event, events.RequestReceived):
            peer.h2.increment_flow_control_window(2**30)
            peer.h2.increment_flow_control_window(2**30, event.stream_id)
            peer.flush()
            await blocked.wait()

    async with serving(stop) as server:
        sending = asyncio.create_task(send(transport, server.url, bytes(50_000_000)))
        await asyncio.sleep(0.2)  # the sockets' buffers fill up
        async with asyncio.timeout(5):
            await transport.close()
        with pytest.raises(ConnectionBrokenError):
            await sending
        blocked.set()
        await server.left.wait()


# TLS.


@pytest.fixture(scope="module")
def certificates() -> TestCertificates:
    return TestCertificates()


async def test_tls(certificates: TestCertificates) -> None:
    context = client_context(TlsConfig(ca_pem=certificates.ca_pem), alpn=HTTP2_ALPN)
    transport = Http2Transport(idle_timeout_s=60, ssl_context=context)
    async with serving(echo, certificates.server_context("box.example", alpn=HTTP2_ALPN)) as server:
        answer = await send(transport, server.url, b"a", server_name="box.example")
        assert await answer.read_all(10) == b"a"
        answer.close()
        with pytest.raises(ConnectError, match=r"^certificate not accepted: "):
            await send(transport, server.url)
    await transport.close()


async def test_tls_server_that_speaks_http1_alone(certificates: TestCertificates) -> None:
    context = client_context(TlsConfig(ca_pem=certificates.ca_pem), alpn=HTTP2_ALPN)
    transport = Http2Transport(idle_timeout_s=60, ssl_context=context)
    async with serving(nothing, certificates.server_context("127.0.0.1")) as server:
        with pytest.raises(ConnectError, match=r"^the backend does not speak HTTP/2$"):
            await send(transport, server.url)
    await transport.close()
