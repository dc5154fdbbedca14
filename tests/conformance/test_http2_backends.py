"""Requests that are passed through to backends that speak HTTP/2, from clients of either version."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.conformance.configuration import Configuration
from tests.conformance.gateway import Gateway
from tests.conformance.http2_client import http2_client
from tests.conformance.proxying import ProxyClient, proxied
from tests.conformance.raw_http import connected, request
from tests.support.http2_backend import BackendStream, http2_backend
from tests.support.raw_backend import raw_backend

PROMPTLY_S = 2.0
MIB = 1024 * 1024
LARGE = 100 * MIB
GROWTH = 32 * MIB
PIECE = b"x" * 65536


@pytest.fixture
def client(gateway: Gateway, session: aiohttp.ClientSession) -> ProxyClient:
    """A client of the node."""
    return ProxyClient(gateway.addresses.http, session)


def over_http2(address: str) -> Configuration:
    return proxied(address, upstream={"protocol": "HTTP2"})


async def echo(stream: BackendStream) -> None:
    """Sends back what comes, as it comes."""
    stream.start(200, ("x-method", stream.header(":method") or ""), ("set-cookie", "a=b"), ("set-cookie", "c=d"))
    while part := await stream.read():
        await stream.send(part)
    stream.end(("x-trailer", "1"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_requests_pass_through(gateway: Gateway, client: ProxyClient, method: str) -> None:
    has_body = method not in ("GET", "HEAD")

    async def serve(stream: BackendStream) -> None:
        body = await stream.read_all()
        stream.start(207, ("x-method", method), ("set-cookie", "a=b"), ("set-cookie", "c=d"), ("x-janua-x", "forged"))
        if method != "HEAD":
            await stream.send(b"got " + body)
        stream.end()

    async with http2_backend(serve) as backend:
        await gateway.apply(over_http2(backend.address))
        data = b"hello" if has_body else None
        headers = {"x-a": "1", "te": "trailers", "keep-alive": "1", "authorization": "Bearer secret", "host": "shop"}
        answered = await client.send("/a%2Fb?c=d%20e", method, headers=headers, data=data)
    body = b"" if method == "HEAD" else b"got hello" if has_body else b"got "
    assert (answered.status, answered.body, answered.header("x-method")) == (207, body, method)
    assert answered.values("set-cookie") == ["a=b", "c=d"]
    assert answered.header("x-janua-x") is None
    (stream,) = backend.streams
    assert (stream.header(":method"), stream.header(":path")) == (method, "/a%2Fb?c=d%20e")
    assert (stream.header(":authority"), stream.header("x-forwarded-host")) == (backend.address, "shop")
    assert (stream.header("x-a"), stream.header("content-length")) == ("1", "5" if has_body else None)
    assert not {"te", "keep-alive", "authorization", "host", "connection"} & {name for name, _ in stream.headers}


async def test_bodies_stream_both_ways_at_a_time_between_http2_clients_and_backends(gateway: Gateway) -> None:
    async with http2_backend(echo) as backend:
        await gateway.apply(over_http2(backend.address))
        async with http2_client(gateway.addresses.http) as http2:
            number = await http2.begin_post("/")
            for piece in (b"one", b"two", b"three"):
                await http2.send_data(number, piece)
                await http2.body_with(number, piece)
            await http2.end(number)
            answered = await http2.answer(number)
    assert (answered.status, answered.body, answered.is_complete) == (200, b"onetwothree", True)
    assert "x-trailer" not in dict(answered.headers)


async def test_requests_share_a_connection(gateway: Gateway, client: ProxyClient) -> None:
    async with http2_backend(echo) as backend:
        await gateway.apply(over_http2(backend.address))
        bodies = [b"%d" % number for number in range(20)]
        answers = await asyncio.gather(*(client.send("/", "POST", data=body) for body in bodies))
        assert [answered.body for answered in answers] == bodies
        assert backend.connections == 1


async def test_large_bodies_take_no_memory(gateway: Gateway, client: ProxyClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(LARGE // len(PIECE)):
            yield PIECE

    async with http2_backend(echo) as backend:
        await gateway.apply(over_http2(backend.address))
        before, peak, size = gateway.process.resident_bytes, 0, 0
        async with client.open("/", "POST", data=pieces()) as echoed:
            async for part in echoed.content.iter_any():
                size += len(part)
                peak = max(peak, gateway.process.resident_bytes)
    assert size == LARGE
    assert peak - before < GROWTH


async def test_answer_that_is_reset_has_no_clean_end(gateway: Gateway) -> None:
    async def break_off(stream: BackendStream) -> None:
        stream.start()
        await stream.send(b"begun")
        stream.reset()

    async with http2_backend(break_off) as backend:
        await gateway.apply(over_http2(backend.address))
        async with connected(gateway.addresses.http) as connection:
            await connection.send(request("GET", "/"))
            answered = await connection.response()
        async with http2_client(gateway.addresses.http) as http2:
            over = await http2.answer(await http2.post({}, path="/"))
    assert answered is not None
    assert (answered.status, answered.is_complete) == (200, False)
    assert (over.status, over.is_complete, over.is_reset) == (200, False, True)


@pytest.mark.parametrize("has_begun", [False, True], ids=["before the answer", "amid the answer"])
@pytest.mark.parametrize("is_sending", [False, True], ids=["body sent", "body coming"])
async def test_client_that_leaves_resets_the_stream(gateway: Gateway, has_begun: bool, is_sending: bool) -> None:
    reached = asyncio.Event()

    async def wait(stream: BackendStream) -> None:
        await stream.read()
        if has_begun:
            stream.start()
            await stream.send(b"begun")
        reached.set()
        await stream.until_left()

    async with http2_backend(wait) as backend:
        await gateway.apply(over_http2(backend.address))
        async with connected(gateway.addresses.http) as connection:
            length = 200_000 if is_sending else 5
            await connection.send(request("POST", "/", f"content-length: {length}", body=b"hello"))
            await reached.wait()
        async with asyncio.timeout(PROMPTLY_S):
            await backend.left.acquire()
        await gateway.wait_until_idle()


async def test_answer_given_before_the_body_is_read_reaches_the_client(gateway: Gateway) -> None:
    async def refuse(stream: BackendStream) -> None:
        stream.start(413)
        await stream.send(b"too much")
        stream.end()

    async with http2_backend(refuse) as backend:
        await gateway.apply(over_http2(backend.address))
        async with connected(gateway.addresses.http) as connection:
            await connection.send(request("POST", "/", "content-length: 100000000") + PIECE)
            refused = await connection.head()
            assert refused is not None
            assert refused.status == 413


async def test_backend_that_speaks_http1_after_all(gateway: Gateway, client: ProxyClient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    async with raw_backend(serve) as backend:
        await gateway.apply(over_http2(backend.address))
        assert (await client.send()).problem() == (503, "UPSTREAM_UNREACHABLE")
