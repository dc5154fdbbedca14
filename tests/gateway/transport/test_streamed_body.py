"""Request bodies that come piece by piece, against raw sockets: what is sent when, and whose failure it is."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from gateway.transport.http import ConnectError, ConnectionBrokenError, HttpTransport
from gateway.transport.messages import Body, HttpResponse
from tests.support.http_wire import response

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class ClientLeftError(Exception):
    """What the iterator of a client that goes away raises."""


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(idle_timeout_s=60)
    yield transport
    await transport.close()


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[URL]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def put(
    transport: HttpTransport, url: URL, body: Body, headers: tuple[tuple[str, str], ...] = ()
) -> HttpResponse:
    return await transport.send("PUT", url, headers=headers, body=body, connect_timeout_s=5)


async def test_pieces_are_sent_as_they_come(transport: HttpTransport) -> None:
    received: asyncio.Queue[bytes] = asyncio.Queue()
    goes_on = asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        for _ in range(3):
            received.put_nowait(await reader.readuntil(b"\r\n") + await reader.readuntil(b"\r\n"))
        writer.write(response(200, b"done"))

    async def pieces() -> AsyncIterator[bytes]:
        assert b"transfer-encoding: chunked" in (await received.get()).lower()
        yield b"one"
        assert await received.get() == b"3\r\none\r\n"
        yield b"three"
        assert await received.get() == b"5\r\nthree\r\n"
        goes_on.set()

    async with serving(server) as url:
        answer = await put(transport, url, pieces())
        assert goes_on.is_set()
        assert await answer.read_all(100) == b"done"
        answer.close()
    assert await received.get() == b"0\r\n\r\n"


async def test_length_that_is_known_is_kept(transport: HttpTransport) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b"content-length: 6" in head
        assert b"chunked" not in head
        writer.write(response(200, await reader.readexactly(6)))

    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        yield b"def"

    async with serving(server) as url:
        answer = await put(transport, url, pieces(), (("content-length", "6"),))
        assert await answer.read_all(100) == b"abcdef"
        answer.close()


@pytest.mark.parametrize("piece", [b"", b"x" * 100_000])
async def test_answer_before_the_body_is_read(transport: HttpTransport, piece: bytes) -> None:
    """A backend that refuses by the head alone is heard, and the iterator is given up."""
    is_left = asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(413, b"too large"))
        await reader.read(10_000_000)

    async def endless() -> AsyncIterator[bytes]:
        try:
            if piece:
                yield piece
            await asyncio.Event().wait()
        finally:
            is_left.set()

    async with serving(server) as url:
        answer = await put(transport, url, endless())
        assert answer.status == 413
        assert await answer.read_all(100) == b"too large"
        answer.close()
        await is_left.wait()


async def test_error_of_the_iterator_before_the_answer(transport: HttpTransport) -> None:
    is_cut = asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert not (await reader.read()).endswith(b"0\r\n\r\n")
        is_cut.set()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise ClientLeftError

    async with serving(server) as url:
        with pytest.raises(ClientLeftError):
            await put(transport, url, pieces())
        await is_cut.wait()
    await transport.close_when_idle()


async def test_error_of_the_iterator_after_the_answers_head(transport: HttpTransport) -> None:
    is_cut, has_answer = asyncio.Event(), asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"one\r\n")
        writer.write(response(200, b"0123456789")[:-5])
        await reader.read()
        is_cut.set()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await has_answer.wait()
        raise ClientLeftError

    async with serving(server) as url:
        answer = await put(transport, url, pieces())
        assert await answer.read() == b"01234"
        has_answer.set()
        with pytest.raises(ClientLeftError):
            await answer.read()
        answer.close()
        await is_cut.wait()
    await transport.close_when_idle()


async def test_refused_connection_leaves_the_body_as_it_is(transport: HttpTransport) -> None:
    async with serving(lambda reader, writer: asyncio.sleep(0)) as url:
        pass
    taken: list[bytes] = []

    async def pieces() -> AsyncIterator[bytes]:
        taken.append(b"one")
        yield b"one"

    body = pieces()
    with pytest.raises(ConnectError, match=r"^connection refused$"):
        await put(transport, url, body)
    assert taken == []
    assert [piece async for piece in body] == [b"one"]


async def test_connection_that_breaks_is_not_tried_again_with_half_a_body(transport: HttpTransport) -> None:
    connections = 0

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"one\r\n")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.Event().wait()

    async with serving(server) as url:
        with pytest.raises(ConnectionBrokenError):
            await put(transport, url, pieces())
    assert connections == 1


async def test_cancelled_request_gives_up_the_iterator(transport: HttpTransport) -> None:
    is_asked, is_left = asyncio.Event(), asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            is_asked.set()
            await asyncio.Event().wait()
            yield b"never"
        finally:
            is_left.set()

    async with serving(server) as url:
        asking = asyncio.create_task(put(transport, url, pieces()))
        await is_asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await is_left.wait()
    await transport.close_when_idle()
    gc.collect()


async def test_requests_over_the_bound_of_connections_wait() -> None:
    transport = HttpTransport(idle_timeout_s=60, max_connections_per_endpoint=1)
    connections = 0

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            writer.write(response(200, b"ok"))

    async def ask(url: URL) -> bytes:
        answer = await transport.send("GET", url, headers=[], body=None, connect_timeout_s=5)
        try:
            return await answer.read_all(10)
        finally:
            answer.close()

    async with serving(server) as url:
        assert await asyncio.gather(*(ask(url) for _ in range(5))) == [b"ok"] * 5
        await transport.close()
    assert connections == 1
