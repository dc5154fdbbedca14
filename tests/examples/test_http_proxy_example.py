"""`examples/http-proxy.yaml`: a real node does with it what its comments say."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import WSMsgType, web

from tests.conformance.proxying import ProxyClient
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.processes import NodeFactory
from tests.support.scripts import answer
from tests.support.websocket_backend import websocket_backend

EXAMPLE = Path(__file__).parents[2] / "examples" / "http-proxy.yaml"
KEY = {"authorization": "Bearer janua-demo-key"}
HELLO = answer(response(200, b"hello"))


@asynccontextmanager
async def server() -> AsyncIterator[FaultyUpstream]:
    """A server that says hello."""
    upstream = FaultyUpstream()
    upstream.script = HELLO
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


async def test_shop_is_passed_through(node: NodeFactory) -> None:
    async with server() as app, server() as second, server() as following, aiohttp.ClientSession() as session:
        env = {"APP": app.address, "APP_2": second.address, "NEXT": following.address}
        gateway = await node(config_file=EXAMPLE, env=env)
        client = ProxyClient(gateway.http, session)
        for _ in range(20):
            assert (await client.send("/shop/orders?page=2", headers=KEY)).body == b"hello"
        assert (len(app.requests), len(second.requests)) == (10, 10)
        assert {request.target for request in app.requests} == {"/orders?page=2"}
        assert {request.header("host") for request in app.requests} == {"shop.internal"}
        assert {request.header("authorization") for request in app.requests} == {None}
        await following.wait_for_requests(2)
        assert len(following.requests) == 2

        app.script = answer(response(503, b"no"))
        for _ in range(4):
            assert (await client.send("/shop", "POST", headers=KEY, data=b"x")).body == b"hello"

        assert (await client.send("/shop")).status == 401
        assert (await client.send("/elsewhere", headers=KEY)).status == 404
        moved = await client.send("/store/orders?page=2")
        assert (moved.status, moved.header("location")) == (308, "/shop")
        assert (await client.send("/healthz")).body == b"ok"
        assert (await client.send("/healthz", "POST")).status == 404


async def test_websockets_are_passed_through(node: NodeFactory) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            assert message.type is WSMsgType.TEXT
            await socket.send_str(f"{request.path} {message.data}")
        return socket

    async with websocket_backend(echo) as backend, aiohttp.ClientSession() as session:
        env = {"APP": backend.address, "APP_2": backend.address, "NEXT": backend.address}
        gateway = await node(config_file=EXAMPLE, env={**env, "APP_2": "127.0.0.1:9"})
        for _ in range(2):
            async with session.ws_connect(f"ws://{gateway.http}/shop/live/chat", headers=KEY) as socket:
                await socket.send_str("hello")
                assert await socket.receive_str() == "/shop/live/chat hello"
