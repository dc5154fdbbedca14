"""A client that goes away, at whatever moment, ends the work of the backend at once."""

import asyncio
import socket
import struct

import pytest

from tests.conformance.calls import Caller, Question, ask
from tests.conformance.configuration import one_pool
from tests.conformance.gateway import Gateway
from tests.conformance.http_caller import HttpCaller
from tests.conformance.raw_http import connected, post
from tests.conformance.unanswering import unanswering_address
from tests.conformance.upstream_scripts import FIRST_EVENTS, ROLE, Endless, open_stream, truncated_json
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import sse
from tests.support.scripts import fail, stall

PROMPTLY_S = 2.0
ROLE_ONLY = open_stream(*sse(ROLE, done=False))
BEGUN = open_stream(FIRST_EVENTS)


async def leave(asking: "asyncio.Task[object]") -> None:
    """Ends the call as a client does that is not interested any more."""
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()


@pytest.mark.parametrize(
    ("streamed", "sent"),
    [(False, b""), (False, truncated_json()), (True, b""), (True, open_stream()), (True, ROLE_ONLY)],
    ids=["unary-silent", "unary-half", "stream-silent", "stream-headers", "stream-preamble"],
)
async def test_leaving_before_the_answer(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, sent: bytes
) -> None:
    """Field failure: client disconnect does not cancel the upstream, unary and before the first token."""
    await gateway.apply(one_pool(upstream.address))
    upstream.script = stall(sent, len(sent))
    asking = asyncio.create_task(ask(caller, streamed=streamed))
    await upstream.wait_for_requests(1)
    await gateway.wait_for_active_requests(1)
    (endpoint,) = await gateway.endpoints()
    assert endpoint["active_requests"] == 1

    await leave(asking)

    async with asyncio.timeout(PROMPTLY_S):
        await upstream.wait_for_disconnects(1)
    await gateway.wait_until_idle()


async def test_leaving_amid_a_stream(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    """Field failure: client disconnect does not cancel the upstream."""
    await gateway.apply(one_pool(upstream.address))
    upstream.script = stall(BEGUN, len(BEGUN))

    async with caller.stream(Question()) as stream:
        assert (await anext(aiter(stream))).model
        (endpoint,) = await gateway.endpoints()
        assert endpoint["active_requests"] == 1

    async with asyncio.timeout(PROMPTLY_S):
        await upstream.wait_for_disconnects(1)
    await gateway.wait_until_idle()


async def test_leaving_a_stream_that_one_could_not_keep_up_with(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    """The node waits for the client to take what it has, not for the backend."""
    await gateway.apply(one_pool(upstream.address))
    upstream.script = endless = Endless()

    async with caller.stream(Question()):
        await endless.wait_until_blocked()

    async with asyncio.timeout(PROMPTLY_S):
        await upstream.wait_for_disconnects(1)
    await gateway.wait_until_idle()


async def test_leaving_just_as_the_answer_begins(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    """The moment in which the answer has arrived but is in nobody's hands yet."""
    await gateway.apply(one_pool(upstream.address))
    upstream.script = stall(BEGUN, len(BEGUN))
    for _ in range(50):
        async with caller.stream(Question()):
            pass
    async with asyncio.timeout(PROMPTLY_S):
        await upstream.wait_for_disconnects(50)
    await gateway.wait_until_idle()


async def test_leaving_while_connecting(gateway: Gateway, caller: Caller, streamed: bool) -> None:
    with unanswering_address() as address:
        await gateway.apply(one_pool(address, service={"timeouts": {"connect": "60s"}}))
        asking = asyncio.create_task(ask(caller, streamed=streamed))
        await gateway.wait_for_active_requests(1)
        await leave(asking)
        await gateway.wait_until_idle()


async def test_leaving_between_two_attempts(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    # The waits are random, up to ten minutes: the chance that ten are over in this test is none.
    policy = {"num_retries": 10, "retry_back_off": {"base_interval": "600s"}}
    await gateway.apply(one_pool(upstream.address, service={"retry_policy": policy}))
    upstream.script = fail(503)
    asking = asyncio.create_task(ask(caller, streamed=streamed))
    await upstream.wait_for_requests(1)
    await gateway.wait_for_active_requests(1)
    await leave(asking)
    await gateway.wait_until_idle()


async def test_one_of_many_leaving_leaves_the_others(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = stall(BEGUN, len(BEGUN))
    async with caller.stream(Question()) as staying:
        async with caller.stream(Question()):
            pass
        async with asyncio.timeout(PROMPTLY_S):
            await upstream.wait_for_disconnects(1)
        assert (await anext(aiter(staying))).model
        await gateway.wait_for_active_requests(1)
        assert upstream.disconnects == 1


async def test_next_request_finds_the_node_well(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.next.append(stall())
    asking = asyncio.create_task(ask(caller, streamed=streamed))
    await upstream.wait_for_requests(1)
    await leave(asking)
    assert (await ask(caller, streamed=streamed)).text == "hello there"


async def test_http_client_that_breaks_its_connection(
    gateway: Gateway, upstream: FaultyUpstream, http: HttpCaller
) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = stall()
    host, _, port = gateway.addresses.http.rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(post(b'{"model": "m"}'))
        await upstream.wait_for_requests(1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    async with asyncio.timeout(PROMPTLY_S):
        await upstream.wait_for_disconnects(1)


async def test_http_client_that_leaves_amid_its_request(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(one_pool(upstream.address))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(post(b'{"model": ', "content-length: 100"))
        await gateway.wait_for_active_requests(1)
    await gateway.wait_until_idle()
    assert upstream.requests == []
