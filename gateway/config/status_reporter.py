"""Tells the config server how the node is."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

import grpc
from grpc import aio
from janua.config.v1 import config_service_pb2, node_service_pb2, node_service_pb2_grpc, upstream_pb2

from gateway.config.resources import EndpointReport, NodeStatusReport
from gateway.config.upstream import EndpointState

PERIOD_S = 30.0
INTERVAL_S = 1.0
CALL_TIMEOUT_S = 5.0
LEAVE_TIMEOUT_S = 2.0
# A client that has heard that the node leaves may have sent it another request a moment before.
LINGER_S = 0.25

_STATES = {
    EndpointState.ACTIVE: upstream_pb2.Endpoint.STATE_ACTIVE,
    EndpointState.DRAINING: upstream_pb2.Endpoint.STATE_DRAINING,
    EndpointState.DISABLED: upstream_pb2.Endpoint.STATE_DISABLED,
}


class Connection(Protocol):
    """The connection that reports share: see `Subscriber`."""

    @property
    def channel(self) -> aio.Channel | None:
        """The channel of the stream that is up; None if none is."""

    async def next_stream(self, seen: int) -> int:
        """Waits until a stream with a number higher than `seen` is up; gives its number, counted from 1."""


def _now() -> datetime:
    return datetime.now(UTC)


class StatusReporter:
    """Reports when poked, when a stream is up, and every 30 seconds; at most once a second.

    A failed report is only counted: the next one says it all. `report` gives the present state.
    """

    def __init__(
        self,
        node_id: str,
        connection: Connection,
        report: Callable[[], NodeStatusReport],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._node_id = node_id
        self._connection = connection
        self._report = report
        self._sleep = sleep
        self._random = random
        self._now = now
        self._is_due = asyncio.Event()
        # Reports reach the server in the order in which they were made.
        self._order = asyncio.Lock()
        self.sent = 0
        self.failures = 0

    def poke(self) -> None:
        """Says that the state has changed."""
        self._is_due.set()

    async def run(self) -> None:
        """Reports until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poke_periodically())
            tasks.create_task(self._poke_on_streams())
            tasks.create_task(self._report_when_due())

    async def report_now(self, timeout: float) -> bool:
        """Reports at once. Whether the server has answered within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._order:
                return await self._send(timeout)
        except TimeoutError:
            self.failures += 1
            return False

    async def leave(self) -> None:
        """Reports that the node drains. Returns once no client of discovery sends it requests any more, which is when
        the server answers, or after 2 seconds."""
        if await self.report_now(LEAVE_TIMEOUT_S):
            await self._sleep(LINGER_S)

    async def _poke_periodically(self) -> None:
        while True:
            await self._sleep(PERIOD_S * (0.9 + 0.2 * self._random()))
            self.poke()

    async def _poke_on_streams(self) -> None:
        seen = 0
        while True:
            seen = await self._connection.next_stream(seen)
            self.poke()

    async def _report_when_due(self) -> None:
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            async with self._order:
                await self._send(CALL_TIMEOUT_S)
            await self._sleep(INTERVAL_S)

    async def _send(self, timeout: float) -> bool:
        channel = self._connection.channel
        if channel is None:
            return False
        stub = node_service_pb2_grpc.NodeServiceStub(channel)
        call = stub.ReportStatus(
            node_service_pb2.ReportStatusRequest(
                node_id=self._node_id, status=_status_message(self._report(), self._now())
            ),
            timeout=timeout,
        )
        try:
            # The code instead of the answer: a channel that closes meanwhile would raise CancelledError here.
            is_received = await call.code() is grpc.StatusCode.OK
        finally:
            call.cancel()
        if is_received:
            self.sent += 1
        else:
            self.failures += 1
        return is_received


def _status_message(report: NodeStatusReport, now: datetime) -> config_service_pb2.NodeStatus:
    message = config_service_pb2.NodeStatus(
        addresses=config_service_pb2.NodeAddresses(
            http=report.addresses.http, grpc=report.addresses.grpc, admin=report.addresses.admin
        ),
        ready=report.ready,
        draining=report.draining,
        active_requests=report.active_requests,
        requests=report.requests,
        failed_requests=report.failed_requests,
        endpoints=[_endpoint_message(endpoint) for endpoint in report.endpoints],
    )
    message.report_time.FromDatetime(now)
    return message


def _endpoint_message(endpoint: EndpointReport) -> config_service_pb2.EndpointStatus:
    message = config_service_pb2.EndpointStatus(
        upstream=endpoint.upstream,
        address=endpoint.address,
        healthy=endpoint.healthy,
        reason=endpoint.reason,
        active_requests=endpoint.active_requests,
        ejections=endpoint.ejections,
        state=_STATES[endpoint.state],
        priority=endpoint.priority,
    )
    message.since.FromDatetime(endpoint.since)
    if endpoint.latency_s is not None:
        message.latency.FromMicroseconds(round(endpoint.latency_s * 1e6))
    if endpoint.ejected_until is not None:
        # It is told by two clocks, so its last digits would differ from report to report.
        message.ejected_until.FromMilliseconds(round(endpoint.ejected_until.timestamp() * 1e3))
    return message
