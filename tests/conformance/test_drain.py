"""A node that is told to stop finishes what it has begun, takes nothing new, and says so."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import grpc
import pytest
from aiohttp import web

from tests.conformance.calls import CUT, Caller, Wire, ask, assert_answered
from tests.conformance.configuration import one_pool
from tests.conformance.gateway import Gateway, render
from tests.conformance.gateway_process import GatewayProcess
from tests.conformance.grpc_caller import GrpcCaller
from tests.conformance.grpc_tools import NOT_SERVING, SERVING, HealthClient
from tests.conformance.http2_client import http2_client
from tests.conformance.http_caller import HttpCaller
from tests.conformance.polling import eventually
from tests.conformance.proxying import proxied
from tests.conformance.raw_http import connected
from tests.conformance.upstream_scripts import FIRST_EVENTS, after, hello_until, open_stream
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.scripts import chat, stall
from tests.support.websocket_backend import websocket_backend

SERVICE = "janua.inference.v1.InferenceService"
Mortal = Callable[..., Awaitable["MortalNode"]]


class MortalNode:
    """A node of a test's own, to be stopped by it, with clients of both protocols."""

    def __init__(self, gateway: Gateway, channel: grpc.aio.Channel, session: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.health = HealthClient(channel)
        self._callers: dict[Wire, Caller] = {
            Wire.HTTP: HttpCaller(gateway.addresses.http, session),
            Wire.GRPC: GrpcCaller(channel),
        }

    def caller(self, wire: Wire) -> Caller:
        """The client of that protocol."""
        return self._callers[wire]

    def terminate(self) -> None:
        """SIGTERM."""
        self.gateway.process.send_signal(signal.SIGTERM)

    async def exit_code(self) -> int:
        """Waits for its end."""
        return await asyncio.to_thread(self.gateway.process.wait)

    async def wait_until_draining(self) -> None:
        """Returns once readiness says so."""

        async def is_draining() -> bool:
            return await self.gateway.get("/readyz") == (503, "draining\n")

        await eventually(is_draining, "the node drains")


@pytest.fixture
async def mortal(tmp_path: Path, session: aiohttp.ClientSession) -> AsyncIterator[Mortal]:
    """Starts one node: `node = await mortal(upstream.address, "--drain-timeout=1s")`."""
    process = GatewayProcess(tmp_path)
    async with AsyncExitStack() as stack:
        stack.callback(process.stop)

        async def start(address: str, *options: str) -> MortalNode:
            await asyncio.to_thread(process.start, render(one_pool(address), "at-start"), *options)
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(process.addresses.grpc))
            return MortalNode(Gateway(process, session), channel, session)

        yield start


wires = pytest.mark.parametrize("wire", list(Wire), ids=lambda wire: wire.value)


@wires
async def test_stream_in_flight_is_finished_and_nothing_new_is_taken(
    mortal: Mortal, upstream: FaultyUpstream, wire: Wire
) -> None:
    node = await mortal(upstream.address)
    may_end = asyncio.Event()
    upstream.script = hello_until(may_end)
    begun = asyncio.Event()
    asking = asyncio.create_task(ask(node.caller(wire), streamed=True, on_piece=begun.set))
    await begun.wait()

    node.terminate()
    await node.wait_until_draining()
    assert (await node.gateway.get("/livez"))[0] == 200
    assert await node.gateway.metric("janua_active_requests") == 1
    for address in (node.gateway.addresses.http, node.gateway.addresses.grpc):
        await wait_until_refused(address)
    assert not asking.done()

    may_end.set()
    assert_answered(await asking, "hello")
    assert await node.exit_code() == 0
    assert len(upstream.requests) == 1


async def test_websocket_that_outlives_the_drain_is_told_to_go(mortal: Mortal, session: aiohttp.ClientSession) -> None:
    codes: list[int | None] = []

    async def wait(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        codes.append(socket.close_code)
        return socket

    async with websocket_backend(wait) as backend:
        node = await mortal(backend.address, "--drain-timeout=0.5s")
        await node.gateway.apply(proxied(backend.address))
        async with session.ws_connect(f"ws://{node.gateway.addresses.http}/") as socket:
            node.terminate()
            await node.wait_until_draining()
            message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        assert await node.exit_code() == 0
    assert codes == [1001]


async def test_http2_connection_is_told_to_go_when_its_last_stream_has_ended(
    mortal: Mortal, upstream: FaultyUpstream
) -> None:
    node = await mortal(upstream.address)
    may_end = asyncio.Event()
    upstream.script = hello_until(may_end)
    async with http2_client(node.gateway.addresses.http) as client:
        number = await client.post({"model": "m", "stream": True})
        await client.body_with(number, b"hello")
        node.terminate()
        await node.wait_until_draining()
        may_end.set()
        answer = await client.answer(number)
        assert answer.is_complete
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert await node.exit_code() == 0
        assert client.is_told_to_go


async def wait_until_refused(address: str) -> None:
    """Returns once nobody listens there any more."""

    async def is_refused() -> bool:
        try:
            async with connected(address):
                return False
        except ConnectionRefusedError:
            return True

    await eventually(is_refused, f"connections to {address} are refused")


async def test_unary_answers_in_flight_are_finished(mortal: Mortal, upstream: FaultyUpstream) -> None:
    node = await mortal(upstream.address)
    may_answer = asyncio.Event()
    upstream.script = after(may_answer, chat())
    asking = asyncio.gather(*(ask(node.caller(wire)) for wire in Wire for _ in range(5)))
    await upstream.wait_for_requests(10)
    node.terminate()
    await node.wait_until_draining()
    may_answer.set()
    for answer in await asking:
        assert_answered(answer)
    assert await node.exit_code() == 0


async def test_what_outlasts_the_drain_timeout_is_cut_and_does_not_look_complete(
    mortal: Mortal, upstream: FaultyUpstream
) -> None:
    node = await mortal(upstream.address, "--drain-timeout=300ms")
    begun = open_stream(FIRST_EVENTS)
    upstream.script = stall(begun, len(begun))
    has_begun = {wire: asyncio.Event() for wire in Wire}
    asking = [
        asyncio.create_task(ask(node.caller(wire), streamed=True, on_piece=begun_there.set))
        for wire, begun_there in has_begun.items()
    ]
    # The pieces of one protocol say nothing of the other.
    for begun_there in has_begun.values():
        await begun_there.wait()

    node.terminate()

    assert await node.exit_code() == 0
    for answer in await asyncio.gather(*asking):
        assert answer.text == "hello"
        assert answer.failure is not None
        assert answer.failure.status in (CUT, "UNAVAILABLE", "CANCELLED", "error event")
    await upstream.wait_for_disconnects(2)


async def test_idle_connections_do_not_hold_a_node_up(mortal: Mortal, upstream: FaultyUpstream) -> None:
    node = await mortal(upstream.address, "--drain-timeout=30s")
    for wire in Wire:
        assert_answered(await ask(node.caller(wire)))
    async with connected(node.gateway.addresses.http):
        node.terminate()
        async with asyncio.timeout(5):
            assert await node.exit_code() == 0


async def test_health_watcher_is_told_and_does_not_hold_a_node_up(mortal: Mortal, upstream: FaultyUpstream) -> None:
    node = await mortal(upstream.address, "--drain-timeout=30s")
    # Two, because telling one must not depend on another.
    watching = [node.health.watch(service) for service in (SERVICE, SERVICE)]
    assert [await anext(statuses) for statuses in watching] == [SERVING, SERVING]
    node.terminate()
    assert [[status async for status in statuses] for statuses in watching] == [[NOT_SERVING], [NOT_SERVING]]
    async with asyncio.timeout(5):
        assert await node.exit_code() == 0


async def test_drain_by_request_takes_a_node_out_without_stopping_it(mortal: Mortal, upstream: FaultyUpstream) -> None:
    node = await mortal(upstream.address)
    assert [await node.health.check(), await node.health.check(SERVICE)] == [SERVING, SERVING]

    status, body = await node.gateway.post("/drain")

    assert (status, json.loads(body)) == (200, {"draining": True, "active_requests": 0})
    assert await node.gateway.get("/readyz") == (503, "draining\n")
    assert [await node.health.check(), await node.health.check(SERVICE)] == [NOT_SERVING, NOT_SERVING]
    for wire in Wire:
        assert_answered(await ask(node.caller(wire)))
    status, _ = await node.gateway.post("/drain")
    assert status == 200
    node.terminate()
    assert await node.exit_code() == 0


async def test_second_signal_changes_nothing(mortal: Mortal, upstream: FaultyUpstream) -> None:
    node = await mortal(upstream.address)
    may_answer = asyncio.Event()
    upstream.script = after(may_answer, chat())
    asking = asyncio.create_task(ask(node.caller(Wire.HTTP)))
    await upstream.wait_for_requests(1)
    node.terminate()
    await node.wait_until_draining()
    node.terminate()
    node.gateway.process.send_signal(signal.SIGHUP)
    may_answer.set()
    assert_answered(await asking)
    assert await node.exit_code() == 0
