"""What goes wrong before the first content is tried again on another endpoint, unseen by the client; nothing after."""

import asyncio
import time

import pytest

from tests.conformance.calls import Caller, Kind, Question, ask, assert_answered, assert_broken, assert_refused
from tests.conformance.configuration import first_then, one_pool
from tests.conformance.conftest import Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import ERROR, FIRST_EVENTS, MODEL, ROLE, open_stream, stream_of, truncated_json
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response, sse
from tests.support.scripts import Exchange, Script, answer, chat, cut, fail, reset, stall

QUICK = {"retry_back_off": {"base_interval": "1ms"}}

BEFORE_CONTENT = {
    "reset before headers": reset(),
    "closed before headers": cut(b"", 0),
    "closed amid headers": cut(b"HTTP/1.1 200 OK\r\ncontent-ty", 26),
    "502": fail(502),
    "503": fail(503),
    "504": fail(504),
    "not HTTP": cut(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 23),
    "an answer that is none": answer(response(200, b"<html>", content_type="text/html")),
}
ROLE_ONLY = open_stream(*sse(ROLE, done=False))
BEFORE_CONTENT_OF_A_STREAM = {
    "stream closed before any event": cut(open_stream(), len(open_stream())),
    "stream closed after its preamble": cut(ROLE_ONLY, len(ROLE_ONLY)),
    "stream reset after its preamble": reset(ROLE_ONLY, len(ROLE_ONLY)),
    "stream ended after its preamble": stream_of(sse(ROLE, done=False)),
    "error as first event": stream_of(sse(ERROR)),
    "error after the preamble": stream_of(sse(ROLE, ERROR)),
    "error event": stream_of([b'event: error\ndata: {"message": "overloaded"}\n\n']),
    "garbage as first event": stream_of([b"data: {garbage\n\n"]),
    "nested first event": stream_of([b'data: {"choices": ' + b"[" * 100_000 + b"\n\n"]),
}


async def assert_second_endpoint_answers(
    gateway: Gateway, pair: list[FaultyUpstream], caller: Caller, *, streamed: bool
) -> None:
    first, second = pair
    await gateway.apply(first_then(first.address, second.address, service={"retry_policy": QUICK}))
    answer = await ask(caller, streamed=streamed)
    assert_answered(answer)
    assert answer.usage == (1, 2)
    assert answer.headers["x-janua-attempts"] == "2"
    assert answer.headers["x-janua-endpoint"] == second.address
    assert (len(first.requests), len(second.requests)) == (1, 1)
    assert first.requests[0].body == second.requests[0].body


@pytest.mark.parametrize("fault", BEFORE_CONTENT.values(), ids=BEFORE_CONTENT)
async def test_fault_before_the_answer_is_retried(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, streamed: bool, fault: Script
) -> None:
    pair = await upstreams(2)
    pair[0].script = fault
    await assert_second_endpoint_answers(gateway, pair, caller, streamed=streamed)


@pytest.mark.parametrize("fault", BEFORE_CONTENT_OF_A_STREAM.values(), ids=BEFORE_CONTENT_OF_A_STREAM)
async def test_fault_before_the_first_content_of_a_stream_is_retried(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, fault: Script
) -> None:
    """Field failure: fallback never runs on a malformed first event."""
    pair = await upstreams(2)
    pair[0].script = fault
    await assert_second_endpoint_answers(gateway, pair, caller, streamed=True)


async def test_unary_answer_cut_in_its_middle_is_retried(
    gateway: Gateway, upstreams: Upstreams, caller: Caller
) -> None:
    pair = await upstreams(2)
    pair[0].script = cut(truncated_json(), len(truncated_json()))
    await assert_second_endpoint_answers(gateway, pair, caller, streamed=False)


async def test_refused_connection_is_retried(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, streamed: bool
) -> None:
    first, second = await upstreams(2)
    gone = first.address
    await first.stop()
    await gateway.apply(first_then(gone, second.address, service={"retry_policy": QUICK}))

    answer = await ask(caller, streamed=streamed)

    assert_answered(answer)
    assert answer.headers["x-janua-attempts"] == "2"


async def test_connection_that_died_while_it_was_kept_is_retried(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, streamed: bool
) -> None:
    """The race of every pool: a backend restarts, and the next request finds its connection gone."""
    (upstream,) = await upstreams(1)
    await gateway.apply(one_pool(upstream.address, service={"retry_policy": QUICK}))
    assert_answered(await ask(caller, streamed=streamed))
    port = int(upstream.address.rpartition(":")[2])
    await upstream.stop()
    await upstream.start(port)
    assert_answered(await ask(caller, streamed=streamed))


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, 501])
async def test_what_would_fail_again_is_not_retried(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, status: int
) -> None:
    first, second = await upstreams(2)
    first.script = fail(status)
    await gateway.apply(first_then(first.address, second.address, service={"retry_policy": QUICK}))
    assert (await ask(caller)).failure is not None
    assert second.requests == []


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_stream_cut_after_content_is_an_error_and_not_retried(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, is_reset: bool
) -> None:
    first, second = await upstreams(2)
    content_has_come = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(open_stream(FIRST_EVENTS))
        await content_has_come.wait()
        if is_reset:
            exchange.reset()
        else:
            exchange.close()

    first.script = script
    await gateway.apply(first_then(first.address, second.address, service={"retry_policy": QUICK}))

    answer = await ask(caller, streamed=True, on_piece=content_has_come.set)

    assert_broken(answer, Kind.BAD_GATEWAY, "UPSTREAM_CUT")
    assert answer.text == "hello"
    assert second.requests == []


@pytest.mark.parametrize("service", [{}, {"models": [{"name": "m", "upstream_name": MODEL}]}], ids=["bytes", "renamed"])
async def test_half_an_event_does_not_garble_the_error_after_it(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, service: dict[str, object]
) -> None:
    begun = open_stream(FIRST_EVENTS, b'data: {"id": "chatcmpl-1", "choi')
    upstream.script = cut(begun, len(begun))
    await gateway.apply(one_pool(upstream.address, service=service))
    answer = await ask(caller, streamed=True)
    assert_broken(answer, Kind.BAD_GATEWAY, "UPSTREAM_CUT")
    assert answer.text == "hello"


async def test_stream_ended_in_order_but_unfinished_is_an_error(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    upstream.script = stream_of([FIRST_EVENTS])
    await gateway.apply(one_pool(upstream.address))
    answer = await ask(caller, streamed=True)
    assert_broken(answer, Kind.BAD_GATEWAY, "UPSTREAM_CUT")
    assert answer.text == "hello"


async def test_stream_without_end_mark_but_with_a_finish_reason_is_complete(
    gateway: Gateway, upstream: FaultyUpstream, grpc_caller: Caller
) -> None:
    """Some servers leave `[DONE]` out. Over HTTP it is left out too, and the client makes of it what it does."""
    events = [ROLE, {**ROLE, "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}]
    upstream.script = stream_of(sse(*events, done=False))
    await gateway.apply(one_pool(upstream.address))
    assert_answered(await ask(grpc_caller, streamed=True), "hi")


async def test_all_endpoints_down_is_told_at_once(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, streamed: bool
) -> None:
    """Field failure: client told 200 although every attempt failed before content."""
    started = await upstreams(3)
    addresses = [upstream.address for upstream in started]
    for upstream in started:
        await upstream.stop()
    await gateway.apply(one_pool(*addresses, service={"retry_policy": QUICK}))

    begun = time.monotonic()
    answer = await ask(caller, streamed=streamed)

    assert time.monotonic() - begun < 2
    assert_refused(answer, Kind.UNAVAILABLE, "UPSTREAM_UNREACHABLE")
    assert answer.headers["x-janua-attempts"] == "3"


async def test_retries_are_counted(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    upstream.script = fail(503)
    await gateway.apply(one_pool(upstream.address, service={"retry_policy": {**QUICK, "num_retries": 4}}))
    answer = await ask(caller)
    assert_refused(answer, Kind.UNAVAILABLE, "UPSTREAM_UNAVAILABLE")
    assert answer.headers["x-janua-attempts"] == "5"
    assert len(upstream.requests) == 5


async def test_only_faults_that_the_policy_names_are_retried(
    gateway: Gateway, upstreams: Upstreams, caller: Caller
) -> None:
    first, second = await upstreams(2)
    first.script = fail(503)
    policy = {**QUICK, "retry_on": ["CONNECT_FAILURE"]}
    await gateway.apply(first_then(first.address, second.address, service={"retry_policy": policy}))
    assert_refused(await ask(caller), Kind.UNAVAILABLE, "UPSTREAM_UNAVAILABLE")
    assert second.requests == []


async def test_policy_of_the_route_wins_over_that_of_the_service(
    gateway: Gateway, upstreams: Upstreams, caller: Caller
) -> None:
    first, second = await upstreams(2)
    first.script = fail(503)
    route = {"retry_policy": {"num_retries": 0}}
    await gateway.apply(first_then(first.address, second.address, service={"retry_policy": QUICK}, route=route))
    assert_refused(await ask(caller), Kind.UNAVAILABLE, "UPSTREAM_UNAVAILABLE")
    assert second.requests == []


async def test_attempt_that_takes_too_long_is_given_up_for_another(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, streamed: bool
) -> None:
    """Field failure: fallback never runs on a stalled first event."""
    first, second = await upstreams(2)
    first.script = stall()
    policy = {**QUICK, "retry_on": ["TIMEOUT"], "per_try_timeout": "200ms"}
    await gateway.apply(first_then(first.address, second.address, service={"retry_policy": policy}))

    answer = await ask(caller, streamed=streamed)

    assert_answered(answer)
    assert answer.headers["x-janua-attempts"] == "2"
    await first.wait_for_disconnects(1)


async def test_requests_do_not_wait_for_each_others_retries(
    gateway: Gateway, upstreams: Upstreams, caller: Caller
) -> None:
    first, second = await upstreams(2)
    first.script = fail(503)
    second.script = chat()
    await gateway.apply(first_then(first.address, second.address, service={"retry_policy": QUICK}))
    answers = await asyncio.gather(*(ask(caller, Question(text=str(number))) for number in range(40)))
    for got in answers:
        assert_answered(got)
    assert len(second.requests) == 40
