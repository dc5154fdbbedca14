"""Limits of size on routes and consumers, and that no body is ever unpacked."""

import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web

from tests.conformance.calls import Caller, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.conftest import MAX_BODY_BYTES
from tests.conformance.gateway import Gateway
from tests.conformance.grpc_proxying import GrpcClient, grpc_pool
from tests.conformance.proxying import proxied
from tests.conformance.raw_http import connected
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.grpc_backend import starting_backends
from tests.support.http_wire import response
from tests.support.scripts import answer
from tests.support.websocket_backend import websocket_backend

KEY, SMALL = "sk-alice-0123456789", "sk-small-0123456789"
LIMIT = 1000


def configuration(backend: FaultyUpstream, user: str, **limits: int) -> dict[str, Any]:
    """One pool for callers with a key; the route, or of the consumers only `small`, has the limits."""
    config = dict(with_keys(one_pool(backend.address), api_key(KEY)))
    config["policies"] = [*config["policies"], {"name": "size", "size_limits": limits}]
    small = {"name": "small", "api_keys": [api_key(SMALL)]}
    if user == "route":
        config["routes"] = [{**config["routes"][0], "policies": ["size", "keys"]}]
    else:
        small["policies"] = ["size"]
    config["consumers"] = [*config["consumers"], small]
    return config


def question(size: int = 5, *, key: str = SMALL, much: str = "") -> Question:
    headers = {"authorization": f"Bearer {key}", **({"x-much": much} if much else {})}
    return Question(text="x" * size, headers=headers)


@pytest.mark.parametrize("user", ["route", "consumer"])
async def test_larger_bodies_are_refused(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, user: str
) -> None:
    await gateway.apply(configuration(upstream, user, max_body_bytes=LIMIT))

    assert_answered(await ask(caller, question(LIMIT // 2), streamed=streamed))
    asked = len(upstream.requests)
    failure = assert_refused(await ask(caller, question(LIMIT), streamed=streamed), Kind.TOO_LARGE, "PAYLOAD_TOO_LARGE")

    assert f"{LIMIT} bytes" in failure.message
    assert len(upstream.requests) == asked
    if user == "consumer":
        assert_answered(await ask(caller, question(LIMIT, key=KEY), streamed=streamed))


async def test_size_of_a_route_is_looked_at_before_the_key(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(configuration(upstream, "route", max_body_bytes=LIMIT))
    assert_refused(await ask(caller, question(LIMIT, key="sk-wrong")), Kind.TOO_LARGE, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("user", ["route", "consumer"])
async def test_larger_headers_are_refused(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, user: str
) -> None:
    await gateway.apply(configuration(upstream, user, max_header_bytes=LIMIT))
    assert_answered(await ask(caller, question()))
    refused = await ask(caller, question(much="x" * LIMIT))
    assert refused.failure is not None
    assert refused.failure.reason == "HEADERS_TOO_LARGE"
    assert refused.failure.status == ("431" if caller.wire.value == "http" else "RESOURCE_EXHAUSTED")
    assert refused.text == ""


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/v1/messages", b'{"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "%s"}]}', "error"),
        ("/v1beta/models/m:generateContent", b'{"contents": [{"parts": [{"text": "%s"}]}]}', "error"),
        ("/v1/embeddings", b'{"model": "m", "input": "%s"}', "error"),
        ("/v2/models/m/infer", b'{"inputs": [], "x": "%s"}', "error"),
        ("/v1/images/generations", b'{"model": "m", "prompt": "%s"}', "error"),
    ],
)
async def test_refusal_is_in_the_dialect_of_the_path(
    gateway: Gateway,
    upstream: FaultyUpstream,
    session: aiohttp.ClientSession,
    path: str,
    body: bytes,
    error: str,
) -> None:
    await gateway.apply(configuration(upstream, "route", max_body_bytes=LIMIT))
    url = f"http://{gateway.addresses.http}{path}"
    async with session.post(url, data=body % (b"x" * LIMIT), headers={"x-api-key": KEY}) as got:
        assert got.status == 413
        assert error in await got.json()


def passing_through(backend: FaultyUpstream, limit: int = LIMIT) -> dict[str, Any]:
    route = {"match": {"path": {"prefix": "/app"}}, "policies": ["size"]}
    policies = [{"name": "size", "size_limits": {"max_body_bytes": limit}}]
    return {**one_pool(backend.address, route=route), "policies": policies}


async def test_what_passes_through_is_refused_before_it_is_read_where_its_length_is_told(
    gateway: Gateway, upstream: FaultyUpstream
) -> None:
    await gateway.apply(passing_through(upstream))
    async with connected(gateway.addresses.http) as raw:
        await raw.send(b"POST /app HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        head = await raw.head()
        assert head is not None
        assert head.status == 413
    assert upstream.requests == []


async def parts(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, 100):
        yield b"x" * 100


async def test_what_passes_through_in_pieces_is_cut_at_the_limit(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    upstream.script = answer(response(200, b"taken"))
    await gateway.apply(passing_through(upstream))
    url = f"http://{gateway.addresses.http}/app"
    async with session.post(url, data=parts(LIMIT)) as got:
        assert (got.status, await got.read()) == (200, b"taken")
    async with session.post(url, data=parts(LIMIT * 100)) as got:
        assert got.status == 413
        assert (await got.json())["code"] == "PAYLOAD_TOO_LARGE"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x"])
async def test_compressed_bodies_are_refused_where_the_node_reads_them(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession, encoding: str
) -> None:
    await gateway.apply(one_pool(upstream.address))
    bomb = gzip.compress(b'{"model": "m", "x": "' + b"x" * 50_000_000)
    paths = ("/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/v2/models/m/infer", "/v1/images/generations")
    for path in paths:
        headers = {"content-encoding": encoding}
        async with session.post(f"http://{gateway.addresses.http}{path}", data=bomb, headers=headers) as got:
            assert got.status == 415
            assert "content-encoding" in str((await got.json())["error"])
    assert upstream.requests == []


async def test_body_that_says_it_is_not_compressed_is_taken(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(one_pool(upstream.address))
    assert_answered(await ask(caller, Question(headers={"content-encoding": "identity"})))


async def test_compressed_bodies_pass_through_as_they_are(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    upstream.script = answer(response(200, b"taken"))
    await gateway.apply(passing_through(upstream))
    packed = zlib.compress(b"x" * 10_000)
    headers = {"content-encoding": "deflate"}
    async with session.post(f"http://{gateway.addresses.http}/app", data=packed, headers=headers) as got:
        assert got.status == 200
    (request,) = upstream.requests
    assert (request.body, request.header("content-encoding")) == (packed, "deflate")


async def test_compressed_messages_of_grpc_are_not_unpacked(
    gateway: Gateway, upstream: FaultyUpstream, channel: grpc.aio.Channel
) -> None:
    """A message of a kilobyte that would be one of a hundred megabytes."""
    await gateway.apply(one_pool(upstream.address))
    call: Any = channel.unary_unary("/janua.inference.v1.InferenceService/CreateChatCompletion")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b"\x0a" + b"\x00" * (100 * MAX_BODY_BYTES), compression=grpc.Compression.Gzip)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_calls_that_pass_through_have_a_limit_for_each_message(
    gateway: Gateway, channel: grpc.aio.Channel
) -> None:
    async with starting_backends() as start:
        (backend,) = await start(1)
        policies = [{"name": "size", "size_limits": {"max_body_bytes": LIMIT}}]
        await gateway.apply(grpc_pool(backend.address, route={"policies": ["size"]}, policies=policies))
        client, small = GrpcClient(channel), b"x" * LIMIT
        answered = await client.call(*[small] * 5)
        assert (answered.status, len(answered.messages)) == ("OK", 5)
        for messages in ([small + b"x"], [small, small + b"x"]):
            refused = await client.call(*messages)
            assert (refused.status, refused.reason) == ("RESOURCE_EXHAUSTED", "PAYLOAD_TOO_LARGE")


async def echo(request: web.Request) -> web.StreamResponse:
    """Sends back what comes."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


@pytest.mark.parametrize("data", ["ä" * (LIMIT // 2 + 1), b"x" * (LIMIT + 1)])
async def test_websockets_have_a_limit_for_each_message_of_the_client(
    gateway: Gateway, session: aiohttp.ClientSession, data: str | bytes
) -> None:
    async with websocket_backend(echo) as backend:
        policies = [{"name": "size", "size_limits": {"max_body_bytes": LIMIT}}]
        await gateway.apply(proxied(backend.address, route={"policies": ["size"]}, policies=policies))
        async with session.ws_connect(f"ws://{gateway.addresses.http}/") as socket:
            await socket.send_str("x" * LIMIT)
            assert await socket.receive_str() == "x" * LIMIT
            await (socket.send_str(data) if isinstance(data, str) else socket.send_bytes(data))
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 1009
