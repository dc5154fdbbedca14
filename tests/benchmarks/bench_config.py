"""Measures the config server: large and small Applies, and the way of a change from Apply to the last node.

Run as `python tests/benchmarks/bench_config.py`. The server is a process of its own with its store on disk; the nodes
are discovery clients in this process. Exits with 1 if a target is missed.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from grpc import aio
from janua.config.v1.config_service_pb2 import ListNodesRequest
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from janua.discovery.v3.ads_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node
from janua.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from janua_resources.kinds import KINDS, SYNC_STATE_TYPE_URL, ConfigMessage
from rich.console import Console
from rich.table import Table

from tests.benchmarks.procfs import cpu_seconds, resident_bytes
from tests.config_server.server_process import ServerProcess, server_process
from tests.config_server.worlds import ROUTE, batch, route, service, upstream

if TYPE_CHECKING:  # stands in the type stubs only
    from janua.config.v1.config_service_pb2_grpc import ConfigServiceAsyncStub

LARGE_APPLY = 10_000
MOST_LARGE_APPLY_S = 3.0
LEAST_SMALL_APPLIES = 200.0
WRITERS = 8
MOST_P99_MS = 150.0

_UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_QUIETLY = ("--log-level", "warning", "--drain-timeout", "1s")
# Each node has a connection of its own, as in a fleet.
_OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the result. `is_met` is None where there is no target."""

    what: str
    value: str
    target: str = ""
    is_met: bool | None = None


class Fleet:
    """Nodes that acknowledge everything, and know when all of them have a revision."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.resources = 0
        self._acknowledged: Counter[int] = Counter()
        self._changed = asyncio.Condition()
        self._synced = 0
        self.last_ack = 0.0

    async def node(self, address: str, number: int) -> None:
        async with aio.insecure_channel(address, options=_OWN_CONNECTION) as channel:
            call = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            identity = Node(id=f"node-{number:04}")
            for type_url in (*(info.type_url for info in KINDS), SYNC_STATE_TYPE_URL):
                await call.write(DeltaDiscoveryRequest(node=identity, type_url=type_url))
            while isinstance(response := await call.read(), DeltaDiscoveryResponse):
                await call.write(DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce))
                await self._answered(response)

    async def _answered(self, response: DeltaDiscoveryResponse) -> None:
        self.resources += len(response.resources)
        self.last_ack = time.perf_counter()
        if response.type_url == SYNC_STATE_TYPE_URL:
            self._synced += 1
        elif response.type_url == ROUTE:
            self._acknowledged[int(response.system_version_info)] += 1
        else:
            return
        async with self._changed:
            self._changed.notify_all()

    async def synced(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._synced == self.size)

    async def has(self, revision: int) -> None:
        """Waits until the last node has acknowledged a change of routes in `revision`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._acknowledged[revision] == self.size)


def world(resources: int) -> Sequence[ConfigMessage]:
    """So many resources: an upstream and a service for every 18 routes, as in a large gateway."""
    groups = max(1, resources // 20)
    made: list[ConfigMessage] = []
    for group in range(groups):
        made += [upstream(f"u{group}"), service(f"s{group}", upstream=f"u{group}")]
    return [*made, *(changed_route(number, groups, "") for number in range(resources - len(made)))]


def changed_route(number: int, groups: int, text: str) -> ConfigMessage:
    return route(f"r{number}", service=f"s{number % groups}", description=text)


@asynccontextmanager
async def fresh_server() -> AsyncIterator[tuple[ServerProcess, "ConfigServiceAsyncStub"]]:
    with tempfile.TemporaryDirectory(prefix="janua-bench-") as directory:
        store = f"sqlite:///{Path(directory) / 'config.db'}"
        async with (
            server_process(*_QUIETLY, "--listen", "127.0.0.1:0", "--store", store) as server,
            aio.insecure_channel(server.address, options=_UNLIMITED) as channel,
        ):
            yield server, ConfigServiceStub(channel)


async def large_apply() -> Figure:
    async with fresh_server() as (_, config):
        request = batch(*world(LARGE_APPLY))
        start = time.perf_counter()
        await config.Apply(request)
        took = time.perf_counter() - start
    return Figure(
        what=f"Apply of {LARGE_APPLY:,} resources",
        value=f"{took:.2f} s",
        target=f"≤ {MOST_LARGE_APPLY_S:g} s",
        is_met=took <= MOST_LARGE_APPLY_S,
    )


async def small_applies(resources: int, seconds: float) -> Figure:
    """Of one changed route each, by writers at once."""

    async def write(writer: int, end: float) -> int:
        done = 0
        while time.perf_counter() < end:
            await config.Apply(batch(changed_route(writer, resources // 20, f"change {done}")))
            done += 1
        return done

    async with fresh_server() as (_, config):
        await config.Apply(batch(*world(resources)))
        end = time.perf_counter() + seconds
        rate = sum(await asyncio.gather(*(write(writer, end) for writer in range(WRITERS)))) / seconds
    return Figure(
        what=f"Applies of one change, {WRITERS} writers, {resources:,} resources",
        value=f"{rate:.0f} /s",
        target=f"≥ {LEAST_SMALL_APPLIES:g} /s",
        is_met=rate >= LEAST_SMALL_APPLIES,
    )


async def propagation(nodes: int, resources: int, changes: int) -> list[Figure]:
    """Single changes, one after the other, to all nodes."""
    async with fresh_server() as (server, config):
        await config.Apply(batch(*world(resources)))
        fleet = Fleet(nodes)
        start = time.perf_counter()
        streams = [asyncio.create_task(fleet.node(server.address, number)) for number in range(nodes)]
        await fleet.synced()
        first_sync = time.perf_counter() - start
        received_before, cpu_before = fleet.resources, cpu_seconds(server.process.pid)
        times = [await _one_change(config, fleet, resources, number) for number in range(changes)]
        sent_per_change = (fleet.resources - received_before) / changes / nodes
        cpu_ms = (cpu_seconds(server.process.pid) - cpu_before) / changes / nodes * 1000
        memory = resident_bytes(server.process.pid) / 2**20
        assert len((await config.ListNodes(ListNodesRequest())).nodes) == nodes
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
    p99 = statistics.quantiles(times, n=100)[98] * 1000
    return [
        Figure(what=f"first sync of {nodes} nodes, {resources:,} resources", value=f"{first_sync:.2f} s"),
        Figure(what=f"Apply → last of {nodes} ACKs, p50", value=f"{statistics.median(times) * 1000:.0f} ms"),
        Figure(
            what=f"Apply → last of {nodes} ACKs, p99",
            value=f"{p99:.0f} ms",
            target=f"≤ {MOST_P99_MS:g} ms",
            is_met=p99 <= MOST_P99_MS,
        ),
        Figure(
            what="resources sent to each node for one change",
            value=f"{sent_per_change:g}",
            target="1",
            is_met=sent_per_change == 1,
        ),
        Figure(what="CPU of the server per node and change", value=f"{cpu_ms:.2f} ms"),
        Figure(what=f"memory of the server with {nodes} nodes", value=f"{memory:.0f} MiB"),
    ]


async def _one_change(config: "ConfigServiceAsyncStub", fleet: Fleet, resources: int, number: int) -> float:
    """Seconds from the call of Apply to the last node's acknowledgement."""
    start = time.perf_counter()
    response = await config.Apply(batch(changed_route(number, resources // 20, f"change {number}")))
    await fleet.has(response.revision)
    return fleet.last_ack - start


async def measure(nodes: int, resources: int, changes: int, seconds: float) -> list[Figure]:
    return [
        await large_apply(),
        await small_applies(resources, seconds),
        *await propagation(nodes, resources, changes),
    ]


@click.command(context_settings={"show_default": True})
@click.option("--nodes", type=click.IntRange(min=1), default=200, help="Discovery clients.")
@click.option("--resources", type=click.IntRange(min=20), default=1000, help="Size of the configuration.")
@click.option("--changes", type=click.IntRange(min=2), default=100, help="Single changes that are followed.")
@click.option("--seconds", type=float, default=3.0, help="How long small Applies are made.")
def main(nodes: int, resources: int, changes: int, seconds: float) -> None:
    """Measure the config server against its targets."""
    figures = asyncio.run(measure(nodes, resources, changes, seconds))
    table = Table("what", "measured", "target", "")
    for figure in figures:
        table.add_row(figure.what, figure.value, figure.target, {None: "", True: "met", False: "MISSED"}[figure.is_met])
    Console().print(table)
    sys.exit(int(any(figure.is_met is False for figure in figures)))


if __name__ == "__main__":
    main()
