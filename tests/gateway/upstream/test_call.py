"""Calls over several endpoints: retried where that may help, never twice on the same while another lives, never once
the client has seen content, and within the request's time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from gateway.config.snapshot import Failure, RetryConfig
from gateway.errors import BadGatewayError, GatewayError, TimeoutExceededError, UnavailableError, UpstreamRejectedError
from gateway.telemetry.metrics import Metrics
from gateway.upstream.answer import StreamAnswer, UnaryAnswer
from gateway.upstream.call import Caller
from gateway.upstream.cluster import Cluster
from gateway.upstream.retry import AttemptFailedError
from tests.gateway.upstream.calls import (
    HELLO,
    ROLE,
    STREAM,
    THERE,
    WHOLE,
    LoopClock,
    chat_request,
    cluster_of,
    context,
    turns,
    until,
)
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, response


class Rig:
    """A pool of scripted upstreams, a caller, and what both have noted."""

    def __init__(self, upstreams: Sequence[FaultyUpstream], cluster: Cluster) -> None:
        self.upstreams = upstreams
        self.cluster = cluster
        self.waits: list[float] = []
        self.metrics = Metrics()
        self.context = context()

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def call(
        self, *, stream: bool = False, retry: RetryConfig | None = None, **changes: Any
    ) -> UnaryAnswer | StreamAnswer:
        self.context = context()
        caller = Caller(metrics=self.metrics, random=Random(1), sleep=self.sleep)
        request = chat_request(stream=stream, **changes)
        try:
            return (await caller.call(self.cluster, request, retry or RetryConfig(), self.context)).answer
        except AttemptFailedError as failure:
            raise failure.error from failure

    async def failing_call(self, **arguments: Any) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.call(**arguments)
        return caught.value

    @property
    def requests(self) -> list[int]:
        return [len(upstream.requests) for upstream in self.upstreams]

    def attempts(self, result: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "janua_upstream_attempts_total", {"upstream": "pool", "result": result}
        )


@asynccontextmanager
async def rig_of(*given: scripts.Script) -> AsyncIterator[Rig]:
    """One upstream for each script."""
    upstreams = [FaultyUpstream() for _ in given]
    for upstream, script in zip(upstreams, given, strict=True):
        upstream.script = script
        await upstream.start()
    cluster = cluster_of(*(upstream.address for upstream in upstreams))
    try:
        yield Rig(upstreams, cluster)
        assert [endpoint.active_requests for endpoint in cluster.endpoints] == [0] * len(given)
    finally:
        await cluster.connections.close()
        for upstream in upstreams:
            await upstream.stop()


async def read_to_the_end(answer: StreamAnswer) -> None:
    while await answer.rest.read():
        pass


GOOD = scripts.chat()


async def test_good_answer_at_once() -> None:
    async with rig_of(GOOD) as rig:
        answer = await rig.call()
        assert isinstance(answer, UnaryAnswer)
        assert (rig.context.attempts, rig.context.endpoint) == (1, rig.upstreams[0].address)
        assert rig.attempts("ok") == 1
        assert rig.waits == []


@pytest.mark.parametrize("is_streaming", [False, True])
@pytest.mark.parametrize(
    ("script", "result"),
    [
        pytest.param(scripts.reset(), "reset", id="reset before headers"),
        pytest.param(scripts.reset(WHOLE, 30), "reset", id="reset in headers"),
        pytest.param(scripts.cut(b"no http\r\n\r\n", 99), "reset", id="garbage"),
        pytest.param(scripts.reset(WHOLE, len(WHOLE) - 5), "reset", id="reset in the body"),
        pytest.param(scripts.answer(response(200, b"<html>")), "reset", id="HTML"),
        pytest.param(scripts.fail(502), "gateway_error", id="502"),
        pytest.param(scripts.fail(503), "gateway_error", id="503"),
        pytest.param(scripts.fail(504), "gateway_error", id="504"),
    ],
)
async def test_failure_is_made_good_elsewhere(script: scripts.Script, result: str, is_streaming: bool) -> None:
    async with rig_of(script, GOOD) as rig:
        answer = await rig.call(stream=is_streaming)
        if isinstance(answer, StreamAnswer):
            answer.rest.close()
        assert rig.requests == [1, 1]
        assert (rig.context.attempts, rig.context.endpoint) == (2, rig.upstreams[1].address)
        assert (rig.attempts(result), rig.attempts("ok")) == (1, 1)
        assert len(rig.waits) == 1
        assert 0 <= rig.waits[0] <= 0.025


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(scripts.reset(STREAM, until(STREAM, HELLO)), id="reset before content"),
        pytest.param(scripts.answer(chunked_response([ROLE])), id="ends before content"),
        pytest.param(scripts.answer(chunked_response([ROLE, b'data: {"error":{}}\n\n'])), id="error before content"),
        pytest.param(scripts.answer(chunked_response([ROLE, b"data: {{{\n\n"])), id="nonsense before content"),
    ],
)
async def test_stream_that_fails_before_content_is_made_good_unseen(script: scripts.Script) -> None:
    async with rig_of(script, GOOD) as rig:
        answer = await rig.call(stream=True)
        assert isinstance(answer, StreamAnswer)
        assert answer.first.count(b'"role"') == 1, "nothing of the first attempt is seen"
        answer.rest.close()
        assert rig.requests == [1, 1]


@pytest.mark.parametrize(
    "script", [scripts.reset(STREAM, until(STREAM, THERE)), scripts.cut(STREAM, until(STREAM, THERE))]
)
async def test_stream_that_fails_after_content_is_not_tried_again(script: scripts.Script) -> None:
    async with rig_of(script, GOOD) as rig:
        answer = await rig.call(stream=True)
        assert isinstance(answer, StreamAnswer)
        with pytest.raises(BadGatewayError, match="cut off"):
            await read_to_the_end(answer)
        answer.rest.close()
        assert rig.requests == [1, 0]
        assert rig.attempts("ok") == 1


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (301, "failed"),
        (401, "unauthenticated"),
        (403, "permission_denied"),
        (429, "rate_limited"),
        (500, "server_error"),
        (501, "server_error"),
        (529, "overloaded"),
    ],
)
async def test_status_that_is_not_retried_unless_the_policy_says_so(status: int, result: str) -> None:
    async with rig_of(scripts.fail(status), GOOD) as rig:
        await rig.failing_call()
        assert rig.requests == [1, 0]
        assert rig.attempts(result) == 1


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_refused_request_is_refused(status: int) -> None:
    async with rig_of(scripts.fail(status), GOOD) as rig:
        assert isinstance(await rig.failing_call(), UpstreamRejectedError)
        assert rig.requests == [1, 0]


async def test_nothing_is_retried_that_the_policy_does_not_name() -> None:
    async with rig_of(scripts.fail(503), GOOD) as rig:
        error = await rig.failing_call(retry=RetryConfig(retry_on=frozenset({Failure.RESET})))
        assert error.reason == "UPSTREAM_UNAVAILABLE"
        assert rig.requests == [1, 0]


async def test_retries_end() -> None:
    async with rig_of(*[scripts.fail(503)] * 4) as rig:
        error = await rig.failing_call(retry=RetryConfig(num_retries=2))
        assert isinstance(error, UnavailableError)
        assert sum(rig.requests) == 3
        assert rig.context.attempts == 3
        assert len(rig.waits) == 2


async def test_error_of_the_last_attempt_is_told() -> None:
    async with rig_of(scripts.fail(503), scripts.reset(), scripts.fail(504, "too slow")) as rig:
        error = await rig.failing_call()
        assert isinstance(error, TimeoutExceededError)
        assert "too slow" in str(error)


async def test_no_endpoint_is_tried_twice_while_another_is_left() -> None:
    async with rig_of(*[scripts.fail(502)] * 4) as rig:
        for _ in range(6):
            before = rig.requests
            await rig.failing_call(retry=RetryConfig(num_retries=3))
            assert [after - then for after, then in zip(rig.requests, before, strict=True)] == [1, 1, 1, 1]


async def test_endpoints_are_tried_again_when_none_is_left() -> None:
    async with rig_of(scripts.fail(502), scripts.fail(502)) as rig:
        await rig.failing_call(retry=RetryConfig(num_retries=5))
        assert rig.requests == [3, 3]


async def test_only_endpoint_is_tried_again() -> None:
    async with rig_of(GOOD) as rig:
        rig.upstreams[0].next.extend([scripts.fail(503), scripts.reset()])
        assert isinstance(await rig.call(), UnaryAnswer)
        assert rig.requests == [3]


async def test_dead_endpoint_costs_no_request() -> None:
    async with rig_of(GOOD, GOOD, GOOD) as rig:
        await rig.upstreams[1].stop()
        for _ in range(9):
            assert isinstance(await rig.call(), UnaryAnswer)
        assert sum(rig.requests) == 9
        # Its turns are the second, the fifth, the eighth and the eleventh.
        assert rig.attempts("connect_failure") == 4


async def test_nobody_to_call() -> None:
    async with rig_of() as rig:
        error = await rig.failing_call()
        assert isinstance(error, UnavailableError)
        assert (error.reason, error.retry_after_s, rig.context.attempts) == ("NO_ENDPOINT", 1.0, 0)
        assert "pool" in str(error)


# Time.


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_deadline_ends_a_call(is_streaming: bool) -> None:
    async with rig_of(scripts.stall(), GOOD) as rig:
        clock = LoopClock()
        deadline = asyncio.get_running_loop().time() + 60
        calling = asyncio.create_task(rig.failing_call(stream=is_streaming, deadline=deadline))
        await rig.upstreams[0].wait_for_requests(1)
        await clock.advance(59)
        assert not calling.done()
        await clock.advance(2)
        error = await calling
        assert isinstance(error, TimeoutExceededError)
        assert error.reason == "DEADLINE_EXCEEDED"
        await rig.upstreams[0].wait_for_disconnects(1)
        assert rig.requests == [1, 0]


async def test_deadline_ends_a_wait_between_attempts() -> None:
    async with rig_of(scripts.fail(503), GOOD) as rig:
        clock = LoopClock()

        async def sleep_for_ever(seconds: float) -> None:
            rig.waits.append(seconds)
            await asyncio.Event().wait()

        caller = Caller(metrics=rig.metrics, random=Random(1), sleep=sleep_for_ever)
        request = chat_request(deadline=asyncio.get_running_loop().time() + 60)
        calling = asyncio.create_task(caller.call(rig.cluster, request, RetryConfig(), rig.context))
        await rig.upstreams[0].wait_for_requests(1)
        await turns()
        assert len(rig.waits) == 1
        await clock.advance(61)
        with pytest.raises(TimeoutExceededError, match="time limit"):
            await calling


async def test_deadline_that_has_passed_already() -> None:
    async with rig_of(GOOD) as rig:
        error = await rig.failing_call(deadline=asyncio.get_running_loop().time() - 1)
        assert isinstance(error, TimeoutExceededError)


async def test_slow_start_is_made_good_elsewhere_if_the_policy_says_so() -> None:
    retry = RetryConfig(retry_on=frozenset({Failure.TIMEOUT}))
    async with rig_of(scripts.stall(STREAM, until(STREAM, HELLO)), GOOD) as rig:
        clock = LoopClock()
        calling = asyncio.create_task(rig.call(stream=True, retry=retry, first_content_timeout_s=30))
        await rig.upstreams[0].wait_for_requests(1)
        await turns()
        await clock.advance(31)
        answer = await calling
        assert isinstance(answer, StreamAnswer)
        answer.rest.close()
        assert rig.requests == [1, 1]
        assert rig.attempts("timeout") == 1
        await rig.upstreams[0].wait_for_disconnects(1)


async def test_slow_start_is_an_error_otherwise() -> None:
    async with rig_of(scripts.stall(), GOOD) as rig:
        error = await rig.failing_call(first_content_timeout_s=0.05)
        assert (type(error), error.reason) == (TimeoutExceededError, "FIRST_TOKEN_TIMEOUT")
        assert rig.requests == [1, 0]


async def test_cancelled_call_stops_the_upstream() -> None:
    async with rig_of(scripts.stall(), GOOD) as rig:
        calling = asyncio.create_task(rig.call())
        await rig.upstreams[0].wait_for_requests(1)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await rig.upstreams[0].wait_for_disconnects(1)
        assert rig.requests == [1, 0]


async def test_many_calls_at_once_share_the_endpoints() -> None:
    async with rig_of(GOOD, scripts.fail(503), GOOD) as rig:

        async def call() -> str:
            own = context()
            caller = Caller(metrics=rig.metrics, random=Random(1), sleep=rig.sleep)
            exchange = await caller.call(rig.cluster, chat_request(), RetryConfig(), own)
            assert isinstance(exchange.answer, UnaryAnswer)
            return own.endpoint

        answered = Counter(await asyncio.gather(*(call() for _ in range(60))))
        assert answered.keys() == {rig.upstreams[0].address, rig.upstreams[2].address}
        assert rig.requests[1] == 20
        assert sum(rig.requests) == 80
