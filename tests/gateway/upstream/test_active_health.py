"""Active checks: when an endpoint changes sides, what counts as passed, and how often it is asked."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.upstream import EndpointConfig, HealthCheckConfig, HttpProbe, UpstreamConfig
from gateway.upstream.active_health import HealthChecker, HealthTally
from gateway.upstream.cluster import Cluster
from gateway.upstream.probes.table import make_probe
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response

CHECK = HealthCheckConfig(
    probe=HttpProbe(path="/ready"),
    interval_s=5,
    unhealthy_interval_s=1,
    timeout_s=5,
    jitter_s=0,
    unhealthy_threshold=2,
    healthy_threshold=1,
)


def probing(**changes: Any) -> HealthCheckConfig:
    """The check with another request."""
    return replace(CHECK, probe=replace(CHECK.probe, **changes))


START = datetime(2030, 1, 1, tzinfo=UTC)


# When an endpoint changes sides.


@pytest.mark.parametrize(
    ("healthy_threshold", "unhealthy_threshold", "results", "health"),
    [
        (1, 2, "+", "+"),
        (1, 2, "-", "-"),
        (3, 3, "-", "-"),
        (3, 3, "+", "+"),
        (1, 2, "+-+-+-", "++++++"),
        (1, 2, "+--", "++-"),
        (1, 2, "+---+", "++--+"),
        (1, 1, "+-+-", "+-+-"),
        (2, 2, "-++", "--+"),
        (3, 2, "-+-++-+++", "--------+"),
        (2, 3, "+--+---", "++++++-"),
        (2, 2, "+--++--", "++--++-"),
    ],
)
def test_tally(healthy_threshold: int, unhealthy_threshold: int, results: str, health: str) -> None:
    tally = HealthTally(healthy_threshold, unhealthy_threshold)
    assert "".join("+" if tally.record(passed=result == "+") else "-" for result in results) == health


@pytest.mark.parametrize("is_healthy", [True, False])
@pytest.mark.parametrize("passed", [True, False])
def test_first_check_decides_alone_whatever_was_believed(is_healthy: bool, passed: bool) -> None:
    assert HealthTally(5, 5, is_healthy).record(passed=passed) is passed


@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.booleans(), min_size=1))
def test_side_changes_after_enough_results_in_a_row(to_heal: int, to_fail: int, results: list[bool]) -> None:
    tally = HealthTally(to_heal, to_fail)
    believed = results[0]
    for place, passed in enumerate(results):
        needed = to_heal if passed else to_fail
        if passed != believed and results[max(0, place - needed + 1) : place + 1] == [passed] * needed:
            believed = passed
        assert tally.record(passed=passed) is believed


# Checks over the wire.


class Pace:
    """Stands for sleeping: notes how long, and lets the test wait until a checker sleeps and wake it."""

    def __init__(self) -> None:
        self.naps: list[float] = []
        self._asleep = asyncio.Event()
        self._awake = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self._awake.clear()
        self._asleep.set()
        await self._awake.wait()

    async def until_asleep(self) -> float:
        await self._asleep.wait()
        self._asleep.clear()
        return self.naps[-1]

    def wake(self) -> None:
        self._awake.set()


class Checked:
    """An endpoint under one running check."""

    def __init__(self, config: UpstreamConfig) -> None:
        self.clock = START
        self.changes: list[bool] = []
        self.pace = Pace()
        self.cluster = Cluster(
            config, random=Random(1), now=self.now, on_change=lambda: self.changes.append(self.state[0])
        )
        self.clock = START

    @property
    def state(self) -> tuple[bool, str]:
        (endpoint,) = self.cluster.endpoints
        return endpoint.is_healthy, endpoint.reason

    def now(self) -> datetime:
        self.clock += timedelta(seconds=1)
        return self.clock

    async def next_check(self) -> tuple[bool, str]:
        self.pace.wake()
        await self.pace.until_asleep()
        return self.state


def checker_of(cluster: Cluster, check: HealthCheckConfig, pace: Pace, random: Random) -> HealthChecker:
    """A checker of the first endpoint."""
    endpoint = cluster.endpoints[0]

    def record(passed: bool, healthy: bool, reason: str) -> None:
        cluster.record_check(endpoint, 0, passed=passed, healthy=healthy, reason=reason)

    probe = make_probe(check.probe, endpoint, cluster.connections)
    return HealthChecker(probe, check, is_healthy=endpoint.is_healthy, record=record, random=random, sleep=pace.sleep)


@asynccontextmanager
async def checked(
    address: str, check: HealthCheckConfig = CHECK, *, random: Random | None = None, base_path: str = ""
) -> AsyncIterator[Checked]:
    """Runs the check until the end of the block; its first result is there at the beginning."""
    endpoint = EndpointConfig(address=address, url=f"http://{address}{base_path}")
    config = UpstreamConfig(name="pool", endpoints=(endpoint,), health_checks=(check,))
    found = Checked(config)
    checker = checker_of(found.cluster, check, found.pace, random or Random(1))
    running = asyncio.create_task(checker.run())
    try:
        await found.pace.until_asleep()
        yield found
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await found.cluster.connections.close()


def answers(status: int, **more: Any) -> scripts.Script:
    return scripts.answer(response(status, b"", **more))


async def test_first_check_is_made_at_once(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = answers(200)
    async with checked(faulty_upstream.address) as found:
        assert found.state == (True, "GET /ready passed")
        assert found.pace.naps == [5]
        (request,) = faulty_upstream.requests
        assert (request.method, request.target, request.body) == ("GET", "/ready", b"")
        assert request.header("user-agent") == "janua-health-check"
        assert request.header("host") == faulty_upstream.address
        assert request.header("content-length") is None


async def test_endpoint_fails_and_comes_back(faulty_upstream: FaultyUpstream) -> None:
    async with checked_with(faulty_upstream, [200, 500, 500, 500, 200]) as found:
        assert await found.next_check() == (True, "GET /ready: status 500")
        assert await found.next_check() == (False, "GET /ready: status 500")
        assert found.cluster.endpoints[0].since == START + timedelta(seconds=3)
        assert await found.next_check() == (False, "GET /ready: status 500")
        assert found.cluster.endpoints[0].since == START + timedelta(seconds=3)
        assert await found.next_check() == (True, "GET /ready passed")
        assert found.cluster.endpoints[0].since == START + timedelta(seconds=5)
        assert found.pace.naps == [5, 5, 1, 1, 5]
        assert found.changes == [False, True]
    assert faulty_upstream.connections == 1


@asynccontextmanager
async def checked_with(
    upstream: FaultyUpstream, statuses: list[int], check: HealthCheckConfig = CHECK
) -> AsyncIterator[Checked]:
    upstream.next.extend(answers(status) for status in statuses)
    async with checked(upstream.address, check) as found:
        yield found


async def test_requests_avoid_an_endpoint_from_the_moment_it_fails(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = answers(503)
    other = EndpointConfig(address="other", url="http://other")
    failing = EndpointConfig(address=faulty_upstream.address, url=faulty_upstream.url)
    cluster = Cluster(UpstreamConfig(name="pool", endpoints=(failing, other), health_checks=(CHECK,)), random=Random(1))
    pace = Pace()
    checker = checker_of(cluster, CHECK, pace, Random(1))
    assert {cluster.pick(), cluster.pick()} == set(cluster.endpoints)
    running = asyncio.create_task(checker.run())
    await pace.until_asleep()
    assert {cluster.pick() for _ in range(5)} == {cluster.endpoints[1]}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await cluster.connections.close()


async def test_reason_says_how_far_an_endpoint_is_on_its_way_back(faulty_upstream: FaultyUpstream) -> None:
    async with checked_with(faulty_upstream, [500, 200, 200, 200], replace(CHECK, healthy_threshold=3)) as found:
        assert found.state == (False, "GET /ready: status 500")
        assert await found.next_check() == (False, "GET /ready passed 1 of 3 times")
        assert await found.next_check() == (False, "GET /ready passed 2 of 3 times")
        assert await found.next_check() == (True, "GET /ready passed")


@pytest.mark.parametrize(
    ("statuses", "status", "passes"),
    [
        (((200, 299),), 200, True),
        (((200, 299),), 299, True),
        (((200, 299),), 300, False),
        (((200, 299),), 204, True),
        (((404, 404), (500, 599)), 404, True),
        (((404, 404), (500, 599)), 503, True),
        (((404, 404), (500, 599)), 200, False),
        (((404, 404), (500, 599)), 405, False),
        (((301, 301),), 301, True),
    ],
)
async def test_expected_statuses(
    faulty_upstream: FaultyUpstream, statuses: tuple[tuple[int, int], ...], status: int, passes: bool
) -> None:
    faulty_upstream.script = answers(status, headers=[("location", "/elsewhere")])
    async with checked(faulty_upstream.address, probing(statuses=statuses)) as found:
        assert found.state == (passes, "GET /ready passed" if passes else f"GET /ready: status {status}")
        assert len(faulty_upstream.requests) == 1


async def test_head_and_host(faulty_upstream: FaultyUpstream) -> None:
    # The length is that of the body which a HEAD leaves out.
    faulty_upstream.script = scripts.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n")
    async with checked(faulty_upstream.address, probing(method="HEAD", host="box.example")) as found:
        assert found.state == (True, "HEAD /ready passed")
        assert (await found.next_check())[0]
        assert faulty_upstream.requests[0].method == "HEAD"
        assert faulty_upstream.requests[0].header("host") == "box.example"
        assert faulty_upstream.connections == 1


@pytest.mark.parametrize("path", ["/ready?deep=1&x=%20", "/", "//ready", "/a/../b", "/a//b/"])
async def test_path_is_asked_for_as_it_is_written_without_the_base_path(
    faulty_upstream: FaultyUpstream, path: str
) -> None:
    faulty_upstream.script = answers(200)
    async with checked(faulty_upstream.address, probing(path=path), base_path="/base") as found:
        assert found.state[0]
        assert faulty_upstream.requests[0].target == path


async def test_answer_that_does_not_come_in_time(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.stall()
    async with checked(faulty_upstream.address, replace(CHECK, timeout_s=0.05)) as found:
        assert found.state == (False, "GET /ready: no answer within 0.05 s")
        await faulty_upstream.wait_for_disconnects(1)


async def test_body_that_does_not_end_in_time(faulty_upstream: FaultyUpstream) -> None:
    data = response(200, b"0123456789")
    faulty_upstream.script = scripts.stall(data, len(data) - 1)
    async with checked(faulty_upstream.address, replace(CHECK, timeout_s=0.05)) as found:
        assert found.state == (False, "GET /ready: no answer within 0.05 s")


async def test_endpoint_that_is_not_there() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with checked(f"127.0.0.1:{port}") as found:
        assert found.state == (False, "GET /ready: connection refused")


@pytest.mark.parametrize("script", [scripts.reset(), scripts.cut(b"no http\r\n\r\n", 50), scripts.cut(b"", 0)])
async def test_broken_answer(faulty_upstream: FaultyUpstream, script: scripts.Script) -> None:
    faulty_upstream.script = script
    async with checked(faulty_upstream.address) as found:
        healthy, reason = found.state
        assert not healthy
        assert reason.startswith("GET /ready: ")


@pytest.mark.parametrize(("status", "passes"), [(200, True), (500, False)])
async def test_status_counts_however_long_the_body_is(
    faulty_upstream: FaultyUpstream, status: int, passes: bool
) -> None:
    faulty_upstream.script = scripts.answer(response(status, b"x" * 1_000_000))
    async with checked(faulty_upstream.address) as found:
        assert found.state[0] is passes


async def test_jitter_lengthens_the_interval(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = answers(200)
    async with checked(faulty_upstream.address, replace(CHECK, jitter_s=2), random=Random(7)) as found:
        for _ in range(30):
            await found.next_check()
        assert all(5 <= nap <= 7 for nap in found.pace.naps)
        assert max(found.pace.naps) - min(found.pace.naps) > 1


# Several checks of one endpoint.


def mark_all(cluster: Cluster, *results: str | None) -> tuple[bool, str]:
    (endpoint,) = cluster.endpoints
    for number, fault in enumerate(results):
        endpoint.mark(number, healthy=fault is None, reason=fault or "passed", now=START)
    return endpoint.is_healthy, endpoint.reason


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ([None, None], (True, "passed")),
        (["a", None], (False, "a")),
        ([None, "b"], (False, "b")),
        (["a", "b"], (False, "a")),
    ],
)
async def test_endpoint_is_healthy_while_all_checks_pass(results: list[str | None], state: tuple[bool, str]) -> None:
    config = UpstreamConfig(
        name="pool", endpoints=(EndpointConfig(address="a", url="http://a"),), health_checks=(CHECK, CHECK)
    )
    cluster = Cluster(config, random=Random(1))
    assert mark_all(cluster, *results) == state
    assert mark_all(cluster, None, None) == (True, "passed")
    await cluster.connections.close()


@pytest.mark.parametrize(
    ("results", "kept", "state"),
    [
        (["a", "b"], 2, (False, "a")),
        (["a", "b"], 1, (False, "a")),
        (["a", "b"], 0, (True, "no health checks configured")),
        ([None, "b"], 1, (True, "the check that failed is no longer made")),
        ([None, None], 1, (True, "passed")),
    ],
)
async def test_check_that_is_no_longer_made_has_no_say(
    results: list[str | None], kept: int, state: tuple[bool, str]
) -> None:
    endpoints = (EndpointConfig(address="a", url="http://a"),)
    cluster = Cluster(UpstreamConfig(name="pool", endpoints=endpoints, health_checks=(CHECK, CHECK)), random=Random(1))
    mark_all(cluster, *results)
    cluster.reconfigure(UpstreamConfig(name="pool", endpoints=endpoints, health_checks=(CHECK,) * kept))
    assert (cluster.endpoints[0].is_healthy, cluster.endpoints[0].reason) == state
    await cluster.connections.close()
