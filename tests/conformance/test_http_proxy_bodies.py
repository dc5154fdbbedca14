"""Bodies that are passed through: both ways as they come, none held as a whole, and no faster than they are taken."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO

import aiohttp
import pytest

from tests.conformance.conftest import MAX_BODY_BYTES
from tests.conformance.gateway import Gateway
from tests.conformance.http2_client import http2_client
from tests.conformance.polling import until_still
from tests.conformance.proxying import ProxyClient, proxied
from tests.conformance.raw_http import connected, request
from tests.conformance.watched_memory import Watched
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import LAST_CHUNK, chunk, response
from tests.support.raw_backend import raw_backend, read_chunk, read_head, until_gone
from tests.support.scripts import Exchange, answer, huge

MIB = 1024 * 1024
LARGE = 200 * MIB
PIECE = bytes(range(256)) * 256
GROWTH = 16 * MIB
"""What the node may grow by while a large body passes through."""
PROMPTLY_S = 2.0
HELLO = response(200, b"hello", content_type="text/plain")
ENDLESS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
def client(gateway: Gateway, session: aiohttp.ClientSession) -> ProxyClient:
    """A client of the node."""
    return ProxyClient(gateway.addresses.http, session)


async def pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // len(PIECE)):
        yield PIECE


async def count_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the size of what was sent in chunks."""
    await read_head(reader)
    size = 0
    while part := await read_chunk(reader):
        size += len(part)
    writer.write(response(200, str(size).encode()))


async def test_large_upload_takes_no_memory(gateway: Gateway, client: ProxyClient) -> None:
    assert LARGE > 10 * MAX_BODY_BYTES
    async with raw_backend(count_body) as backend, Watched(gateway) as watched:
        await gateway.apply(proxied(backend.address))
        answered = await client.send("/", "PUT", data=pieces(LARGE))
        assert (answered.status, answered.body) == (200, str(LARGE).encode())
    assert watched.growth < GROWTH


async def test_large_download_takes_no_memory(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    await gateway.apply(proxied(upstream.address))
    upstream.script = huge(LARGE)
    size = 0
    async with Watched(gateway) as watched, client.open() as downloaded:
        assert downloaded.headers["content-length"] == str(LARGE)
        async for part in downloaded.content.iter_any():
            size += len(part)
    assert size == LARGE
    assert watched.growth < GROWTH


async def test_large_bodies_over_http2_take_no_memory(gateway: Gateway) -> None:
    async with raw_backend(count_body) as backend, Watched(gateway) as watched:
        await gateway.apply(proxied(backend.address))
        async with http2_client(gateway.addresses.http) as http2:
            number = await http2.begin_post("/")
            async for piece in pieces(20 * MIB):
                await http2.send_data(number, piece)
            await http2.end(number)
            answered = await http2.answer(number)
    assert (answered.status, answered.body) == (200, str(20 * MIB).encode())
    assert watched.growth < GROWTH


async def test_length_that_is_told_reaches_the_backend(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    await gateway.apply(proxied(upstream.address))
    upstream.script = answer(HELLO)
    for size in (0, 1, len(PIECE), 5 * MIB):
        await client.send("/", "PUT", headers={"content-length": str(size)}, data=BytesIO(b"x" * size))
    assert [(request.header("content-length"), len(request.body)) for request in upstream.requests] == [
        (str(size), size) for size in (0, 1, len(PIECE), 5 * MIB)
    ]
    assert {request.header("transfer-encoding") for request in upstream.requests} == {None}


async def test_each_piece_of_a_body_reaches_the_backend_before_the_next_is_sent(
    gateway: Gateway, client: ProxyClient
) -> None:
    sent, received = asyncio.Semaphore(0), asyncio.Queue[bytes]()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        while part := await read_chunk(reader):
            received.put_nowait(part)
        writer.write(HELLO)

    async def body() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"piece %d" % number
            await sent.acquire()

    async with raw_backend(take) as backend:
        await gateway.apply(proxied(backend.address))
        sending = asyncio.create_task(client.send("/", "POST", data=body()))
        for number in range(3):
            assert await received.get() == b"piece %d" % number
            sent.release()
        assert (await sending).body == b"hello"


async def test_both_bodies_stream_at_a_time(gateway: Gateway) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(ENDLESS)
        while part := await read_chunk(reader):
            writer.write(chunk(part))
        writer.write(LAST_CHUNK)

    async with raw_backend(echo) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            await connection.send(request("POST", "/", "transfer-encoding: chunked"))
            head = await connection.head()
            assert head is not None
            assert head.status == 200
            for number in range(3):
                piece = b"piece %d" % number
                await connection.send(chunk(piece))
                assert await connection.read() == chunk(piece)
            await connection.send(LAST_CHUNK)
            assert await connection.read() == LAST_CHUNK
            await connection.send(request("GET", "/"))
            following = await connection.head()
            assert following is not None
            assert following.status == 200


async def test_answer_given_before_the_body_is_read_reaches_the_client(gateway: Gateway) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(response(413, b"too much", headers=[("connection", "close")]))
        await writer.drain()
        await until_gone(reader)

    async with raw_backend(refuse) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            await connection.send(request("POST", "/", "content-length: 100000000"))
            await connection.send(PIECE)
            refused = await connection.response()
            assert refused is not None
            assert (refused.status, refused.body, refused.is_complete) == (413, b"too much", True)
        async with asyncio.timeout(PROMPTLY_S):
            await backend.gone.acquire()


async def test_answer_given_before_the_body_is_read_leaves_the_connection_well(
    gateway: Gateway, client: ProxyClient
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(response(403, b"no"))
        await writer.drain()
        await until_gone(reader)

    async with raw_backend(refuse) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            for _ in range(2):
                await connection.send(request("POST", "/", "content-length: 200000"))
                refused = await connection.response()
                assert refused is not None
                assert (refused.status, refused.body) == (403, b"no")
                await connection.send(b"x" * 200_000)


async def test_client_that_waits_to_be_asked_for_the_body_is_asked(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    await gateway.apply(proxied(upstream.address))
    upstream.script = answer(HELLO)
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request("PUT", "/", "content-length: 5", "expect: 100-continue"))
        interim = await connection.head()
        await connection.send(b"hello")
        answered = await connection.response()
    assert interim is not None
    assert answered is not None
    assert (interim.status, answered.status) == (100, 200)
    (received,) = upstream.requests
    assert (received.header("expect"), received.body) == (None, b"hello")


async def test_trailers_end_at_the_node(gateway: Gateway, client: ProxyClient) -> None:
    async def with_trailers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        assert await read_chunk(reader) == b"hello"
        assert await reader.readexactly(5) == LAST_CHUNK
        writer.write(ENDLESS + chunk(b"back") + b"0\r\nx-trailer: 1\r\n\r\n")

    async with raw_backend(with_trailers) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            body = chunk(b"hello") + b"0\r\nx-trailer: 1\r\n\r\n"
            await connection.send(request("POST", "/", "transfer-encoding: chunked", "connection: close", body=body))
            assert await connection.head() is not None
            rest = b""
            while part := await connection.read():
                rest += part
    assert rest == chunk(b"back") + LAST_CHUNK


class Endless:
    """Answers without an end, as fast as it is taken, and counts."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.send(ENDLESS)
        while True:
            await exchange.send(chunk(PIECE))
            self.sent += len(PIECE)
            await asyncio.sleep(0)


async def test_slow_reader_slows_the_backend_down(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(proxied(upstream.address, route={"timeouts": {"stream_idle": "0.3s"}}))
    upstream.script = endless = Endless()
    async with Watched(gateway) as watched, connected(gateway.addresses.http) as connection:
        await connection.send(request("GET", "/"))
        assert await connection.head() is not None
        await until_still(lambda: endless.sent, "the answer is blocked")
        await asyncio.sleep(0.5)  # that the client is slow is no silence of the backend
        before = endless.sent
        while endless.sent < before + 4 * MIB:
            assert await connection.read(MIB)
    assert before < 48 * MIB
    assert watched.growth < 48 * MIB
    async with asyncio.timeout(PROMPTLY_S):
        await upstream.wait_for_disconnects(1)


async def test_slow_backend_slows_the_sender_down(gateway: Gateway) -> None:
    goes_on = asyncio.Event()

    async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await goes_on.wait()
        await count_body(reader, writer)

    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        async for piece in pieces(LARGE):
            yield piece
            sent += len(piece)

    async with raw_backend(read_late) as backend, Watched(gateway) as watched, aiohttp.ClientSession() as session:
        await gateway.apply(proxied(backend.address))
        client = ProxyClient(gateway.addresses.http, session)
        sending = asyncio.create_task(client.send("/", "POST", data=body()))
        await until_still(lambda: sent, "the client can send no more")
        assert sent < LARGE / 2
        goes_on.set()
        assert (await sending).body == str(LARGE).encode()
    assert watched.growth < GROWTH


async def test_upload_that_a_backend_does_not_take_leaves_the_other_streams_of_its_connection(
    gateway: Gateway, upstream: FaultyUpstream
) -> None:
    upstream.script = answer(HELLO)

    async def be_deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.get_running_loop().create_future()

    async with raw_backend(be_deaf) as deaf:
        deaf_service = {"name": "deaf", "upstream_service": {"upstream": "deaf", "schema": "PASSTHROUGH"}}
        base = proxied(upstream.address)
        deaf_route = {"name": "deaf", "match": {"path": {"prefix": "/deaf"}}, "backends": [{"service": "deaf"}]}
        await gateway.apply(
            {
                "upstreams": [*base["upstreams"], {"name": "deaf", "endpoints": [{"address": deaf.address}]}],
                "services": [*base["services"], deaf_service],
                "routes": [*base["routes"], deaf_route],
            }
        )
        async with http2_client(gateway.addresses.http) as http2:
            stuck = await http2.begin_post("/deaf")
            filling = asyncio.create_task(http2.send_data(stuck, b"x" * 20 * MIB))
            await until_still(lambda: http2.sent_bytes, "the upload is stuck")
            for _ in range(3):
                answered = await http2.answer(await http2.post({}, path="/"))
                assert (answered.status, answered.body) == (200, b"hello")
            await http2.reset(stuck)
            filling.cancel()
            answered = await http2.answer(await http2.post({}, path="/"))
            assert answered.status == 200
