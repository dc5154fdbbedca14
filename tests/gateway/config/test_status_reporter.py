"""Reports of a node's state to the config server that it is connected to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from grpc import aio
from janua.config.v1.upstream_pb2 import Endpoint

from gateway.config.resources import EndpointReport, ListenerAddresses, NodeStatusReport
from gateway.config.status_reporter import INTERVAL_S, LINGER_S, PERIOD_S, StatusReporter
from gateway.config.subscriber import Subscriber
from gateway.config.upstream import EndpointState
from tests.gateway.config.recording_sink import NODE, Pauses, RecordingSink, running
from tests.gateway.config.scripted_server import ScriptedServer, scripted_server

_NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_REPORT = NodeStatusReport(
    addresses=ListenerAddresses(http="127.0.0.1:8080", grpc="127.0.0.1:8081", admin="127.0.0.1:9901"),
    ready=True,
    draining=False,
    active_requests=7,
    endpoints=(
        EndpointReport(
            upstream="pool",
            address="127.0.0.1:9001",
            healthy=False,
            reason="connection refused",
            since=datetime(2026, 1, 1, tzinfo=UTC),
            active_requests=3,
        ),
    ),
)


class Timers:
    """Stands in for sleep: period, interval and lingering apart, each let go by the test."""

    def __init__(self) -> None:
        self.linger = Pauses(is_held=True)
        self.period = Pauses(is_held=True)
        self.interval = Pauses(is_held=True)

    async def __call__(self, length_s: float) -> None:
        await {INTERVAL_S: self.interval, LINGER_S: self.linger}.get(length_s, self.period)(length_s)


class Node:
    """A node under test: a subscriber, a reporter, and the report that it gives."""

    def __init__(self, server: ScriptedServer) -> None:
        self.report = _REPORT
        self.timers = Timers()
        self.subscriber = Subscriber([server.address], NODE, RecordingSink(), sleep=Pauses())
        self.reporter = StatusReporter(
            NODE.id,
            self.subscriber,
            lambda: self.report,
            sleep=self.timers,
            random=lambda: 0.5,
            now=lambda: _NOW,
        )


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as running_server:
        yield running_server


@pytest.fixture
async def node(server: ScriptedServer) -> AsyncIterator[Node]:
    node = Node(server)
    async with running(node.subscriber), reporting(node.reporter):
        yield node


@asynccontextmanager
async def reporting(reporter: StatusReporter) -> AsyncIterator[None]:
    task = asyncio.create_task(reporter.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_reports_all_it_knows_once_a_stream_is_up(server: ScriptedServer, node: Node) -> None:
    stream = await server.next_stream()
    await stream.receive_opening()
    assert server.reports.empty()
    await stream.send_synced()
    report = await server.next_report()
    status = report.status
    assert report.node_id == "node-1"
    assert (status.addresses.http, status.addresses.grpc, status.addresses.admin) == (
        "127.0.0.1:8080",
        "127.0.0.1:8081",
        "127.0.0.1:9901",
    )
    assert (status.ready, status.draining, status.active_requests) == (True, False, 7)
    assert status.report_time.ToDatetime(UTC) == _NOW
    (endpoint,) = status.endpoints
    assert (endpoint.upstream, endpoint.address, endpoint.healthy) == ("pool", "127.0.0.1:9001", False)
    assert (endpoint.reason, endpoint.active_requests) == ("connection refused", 3)
    assert endpoint.since.ToDatetime(UTC) == datetime(2026, 1, 1, tzinfo=UTC)


async def test_reports_what_the_node_has_seen_of_an_endpoint(server: ScriptedServer, node: Node) -> None:
    ejected = replace(
        _REPORT.endpoints[0],
        state=EndpointState.DRAINING,
        priority=2,
        latency_s=0.123_456_789,
        ejections=4,
        ejected_until=datetime(2026, 1, 2, 3, 4, 30, 499_987, tzinfo=UTC),
    )
    disabled = replace(_REPORT.endpoints[0], state=EndpointState.DISABLED)
    node.report = replace(_REPORT, endpoints=(_REPORT.endpoints[0], ejected, disabled))
    await (await server.next_stream()).exchange_opening()
    plain, seen, off = (await server.next_report()).status.endpoints
    assert (plain.state, plain.priority, plain.ejections) == (Endpoint.STATE_ACTIVE, 0, 0)
    assert not plain.HasField("latency")
    assert not plain.HasField("ejected_until")
    assert (seen.state, seen.priority, seen.ejections) == (Endpoint.STATE_DRAINING, 2, 4)
    assert seen.latency.ToNanoseconds() == 123_457_000
    assert seen.ejected_until.ToDatetime(UTC) == datetime(2026, 1, 2, 3, 4, 30, 500_000, tzinfo=UTC)
    assert off.state == Endpoint.STATE_DISABLED


async def test_changes_are_reported_at_most_once_a_second(server: ScriptedServer, node: Node) -> None:
    await (await server.next_stream()).exchange_opening()
    await server.next_report()
    assert await node.timers.interval.begun() == INTERVAL_S
    for requests in (8, 9):
        node.report = replace(_REPORT, active_requests=requests)
        node.reporter.poke()
    assert server.reports.empty()
    node.timers.interval.let_go()
    assert (await server.next_report()).status.active_requests == 9
    await node.timers.interval.begun()
    node.timers.interval.let_go()
    assert await node.reporter.report_now(5)
    await server.next_report()
    assert server.reports.empty()
    assert node.reporter.sent == 3


async def test_reports_every_period_without_a_change(server: ScriptedServer, node: Node) -> None:
    await (await server.next_stream()).exchange_opening()
    assert await node.timers.period.begun() == PERIOD_S
    await server.next_report()
    for _ in range(2):
        await node.timers.interval.begun()
        node.timers.interval.let_go()
        node.timers.period.let_go()
        await server.next_report()


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE], ids=str)
async def test_a_refused_report_is_counted_and_made_again_when_the_next_stream_is_up(
    server: ScriptedServer, node: Node, code: grpc.StatusCode
) -> None:
    async def refuse(context: aio.ServicerContext[Any, Any]) -> None:
        await context.abort(code, "not now")

    server.on_report = refuse
    stream = await server.next_stream()
    await stream.exchange_opening()
    await server.next_report()
    await node.timers.interval.begun()
    assert (node.reporter.failures, node.reporter.sent) == (1, 0)
    node.timers.interval.let_go()

    server.on_report = None
    stream.end()
    await (await server.next_stream()).exchange_opening()
    await server.next_report()
    await node.timers.interval.begun()
    assert (node.reporter.failures, node.reporter.sent) == (1, 1)


async def test_a_stream_lost_in_the_middle_of_a_report_does_not_end_the_reporter(
    server: ScriptedServer, node: Node
) -> None:
    is_hanging = asyncio.Event()

    async def hang(_: object) -> None:
        is_hanging.set()
        await asyncio.Event().wait()

    server.on_report = hang
    stream = await server.next_stream()
    await stream.exchange_opening()
    await is_hanging.wait()
    await server.next_report()
    server.on_report = None
    stream.end()
    await node.timers.interval.begun()
    assert node.reporter.failures == 1
    node.timers.interval.let_go()
    await (await server.next_stream()).exchange_opening()
    await server.next_report()


async def test_a_final_report_is_made_at_once(server: ScriptedServer, node: Node) -> None:
    await (await server.next_stream()).exchange_opening()
    await server.next_report()
    node.report = replace(_REPORT, draining=True)
    assert await node.reporter.report_now(5)
    assert (await server.next_report()).status.draining


async def test_a_final_report_waits_no_longer_than_it_may(server: ScriptedServer, node: Node) -> None:
    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    await (await server.next_stream()).exchange_opening()
    await server.next_report()
    await node.timers.interval.begun()
    server.on_report = hang
    assert not await node.reporter.report_now(0.05)
    assert node.reporter.failures == 1
    # Nor is it held up longer by a report that is under way.
    node.timers.interval.let_go()
    node.reporter.poke()
    await server.next_report()
    assert not await node.reporter.report_now(0.05)


async def test_leaving_lasts_until_the_server_answers_and_a_little_longer(server: ScriptedServer, node: Node) -> None:
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def hold(_: object) -> None:
        is_asked.set()
        await may_answer.wait()

    await (await server.next_stream()).exchange_opening()
    await server.next_report()
    server.on_report = hold
    leaving = asyncio.create_task(node.reporter.leave())
    await is_asked.wait()
    assert not leaving.done()
    may_answer.set()
    await node.timers.linger.begun()
    assert not leaving.done()
    node.timers.linger.let_go()
    await leaving


async def test_without_a_connection_leaving_takes_no_time(server: ScriptedServer) -> None:
    await Node(server).reporter.leave()


async def test_without_a_connection_a_final_report_fails_at_once(server: ScriptedServer) -> None:
    reporter = Node(server).reporter
    assert not await reporter.report_now(5)


async def test_cancelling_leaves_no_task_behind(server: ScriptedServer) -> None:
    before = asyncio.all_tasks()
    node = Node(server)
    async with reporting(node.reporter):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
