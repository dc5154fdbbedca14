"""Each time limit ends what it limits, tells the client which it was, and lets the backend go."""

import asyncio
import time
from typing import Any

import pytest

from tests.conformance.calls import Caller, Kind, Question, ask, assert_answered, assert_broken, assert_refused
from tests.conformance.configuration import one_pool
from tests.conformance.gateway import Gateway
from tests.conformance.unanswering import unanswering_address
from tests.conformance.upstream_scripts import FIRST_EVENTS, HELLO, ROLE, STOP, open_stream, truncated_json
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, sse
from tests.support.scripts import stall, stepped

LIMIT = "200ms"
LIMIT_S = 0.2
BEGUN = open_stream(FIRST_EVENTS)
ROLE_ONLY = open_stream(*sse(ROLE, done=False))


def limited(**timeouts: str) -> dict[str, Any]:
    """A service with these time limits that tries once."""
    return {"timeouts": timeouts, "retry_policy": {"num_retries": 0}}


async def test_connecting_takes_no_longer_than_its_limit(gateway: Gateway, caller: Caller, streamed: bool) -> None:
    with unanswering_address() as address:
        await gateway.apply(one_pool(address, service=limited(connect=LIMIT)))
        begun = time.monotonic()
        answer = await ask(caller, streamed=streamed)
        took = time.monotonic() - begun
    failure = assert_refused(answer, Kind.UNAVAILABLE, "UPSTREAM_UNREACHABLE")
    assert "timed out" in failure.message
    assert LIMIT_S <= took < 2


@pytest.mark.parametrize("sent", [b"", truncated_json()], ids=["silent", "half an answer"])
async def test_unary_request_takes_no_longer_than_its_limit(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, sent: bytes
) -> None:
    await gateway.apply(one_pool(upstream.address, service=limited(request=LIMIT)))
    upstream.script = stall(sent, len(sent))
    assert_refused(await ask(caller), Kind.TIMEOUT, "DEADLINE_EXCEEDED")
    await upstream.wait_for_disconnects(1)


async def test_retries_end_with_the_request_limit(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    policy = {"num_retries": 10, "retry_on": ["TIMEOUT"], "per_try_timeout": "50ms"}
    await gateway.apply(one_pool(upstream.address, service={"timeouts": {"request": LIMIT}, "retry_policy": policy}))
    upstream.script = stall()
    answer = await ask(caller)
    assert answer.failure is not None
    # The limit ends an attempt, or the last failure stands because no wait for another fits in.
    reason = answer.failure.reason
    assert reason in ("DEADLINE_EXCEEDED", "FIRST_TOKEN_TIMEOUT")
    assert_refused(answer, Kind.TIMEOUT, reason)
    assert 1 <= len(upstream.requests) <= 5
    await upstream.wait_for_disconnects(len(upstream.requests))


@pytest.mark.parametrize("sent", [b"", open_stream(), ROLE_ONLY], ids=["silent", "headers", "preamble"])
async def test_first_token_takes_no_longer_than_its_limit(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, sent: bytes
) -> None:
    await gateway.apply(one_pool(upstream.address, service=limited(first_token=LIMIT)))
    upstream.script = stall(sent, len(sent))
    assert_refused(await ask(caller, streamed=True), Kind.TIMEOUT, "FIRST_TOKEN_TIMEOUT")
    await upstream.wait_for_disconnects(1)


async def test_first_token_limit_does_not_bind_what_follows(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(one_pool(upstream.address, service=limited(first_token=LIMIT)))
    permits = asyncio.Semaphore(1)
    begun, data = open_stream(*sse(ROLE, HELLO, done=False)), chunked_response(sse(ROLE, HELLO, STOP))
    upstream.script = stepped([begun, data.removeprefix(begun)], permits)
    asyncio.get_running_loop().call_later(2 * LIMIT_S, permits.release)
    assert_answered(await ask(caller, streamed=True), "hello")


async def test_first_token_limit_is_for_streams_alone(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    timeouts = limited(first_token="50ms", request=LIMIT)
    await gateway.apply(one_pool(upstream.address, service=timeouts))
    upstream.script = stall()
    assert_refused(await ask(caller), Kind.TIMEOUT, "DEADLINE_EXCEEDED")


async def test_silence_within_a_stream_takes_no_longer_than_its_limit(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(one_pool(upstream.address, service=limited(stream_idle=LIMIT)))
    upstream.script = stall(BEGUN, len(BEGUN))
    answer = await ask(caller, streamed=True)
    assert_broken(answer, Kind.TIMEOUT, "STREAM_IDLE_TIMEOUT")
    assert answer.text == "hello"
    await upstream.wait_for_disconnects(1)


async def test_request_limit_binds_streams_too(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(one_pool(upstream.address, service=limited(request=LIMIT)))
    upstream.script = stall(BEGUN, len(BEGUN))
    answer = await ask(caller, streamed=True)
    assert_broken(answer, Kind.TIMEOUT, "DEADLINE_EXCEEDED")
    assert answer.text == "hello"
    await upstream.wait_for_disconnects(1)


async def test_limit_of_the_route_wins_over_that_of_the_service(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    await gateway.apply(
        one_pool(upstream.address, service=limited(request="60s"), route={"timeouts": {"request": LIMIT}})
    )
    upstream.script = stall()
    assert_refused(await ask(caller), Kind.TIMEOUT, "DEADLINE_EXCEEDED")


@pytest.mark.parametrize("sent", [b"", ROLE_ONLY, BEGUN], ids=["silent", "preamble", "content"])
async def test_deadline_of_the_caller_reaches_the_backend(
    gateway: Gateway, upstream: FaultyUpstream, grpc_caller: Caller, streamed: bool, sent: bytes
) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = stall(sent, len(sent))

    answer = await ask(grpc_caller, Question(deadline_s=LIMIT_S), streamed=streamed)

    assert answer.failure is not None
    assert answer.failure.status == "DEADLINE_EXCEEDED"
    async with asyncio.timeout(2):
        await upstream.wait_for_disconnects(1)


async def test_deadline_of_the_caller_cannot_lengthen_a_limit(
    gateway: Gateway, upstream: FaultyUpstream, grpc_caller: Caller
) -> None:
    await gateway.apply(one_pool(upstream.address, service=limited(request=LIMIT)))
    upstream.script = stall()
    answer = await ask(grpc_caller, Question(deadline_s=60))
    assert_refused(answer, Kind.TIMEOUT, "DEADLINE_EXCEEDED")
