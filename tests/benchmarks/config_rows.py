"""What is measured of a config server, row by row. The server is a process of its own with its store on disk."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpc import aio
from janua.config.v1.config_service_pb2 import ApplyRequest
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from janua_resources.kinds import ConfigMessage

from tests.benchmarks.cores import starting_on
from tests.benchmarks.fleet_process import FleetProcess, discovery_fleet
from tests.benchmarks.procfs import cpu_seconds, resident_bytes
from tests.config_server.server_process import ServerProcess, server_process
from tests.config_server.worlds import batch, route, service, upstream

if TYPE_CHECKING:  # stands in the type stubs only
    from janua.config.v1.config_service_pb2_grpc import ConfigServiceAsyncStub

WRITERS = 8
_MOST_PER_APPLY = 10_000
_KIB, _MIB = 1024, 1024 * 1024

_UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_QUIETLY = ("--log-level", "warning", "--drain-timeout", "1s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row. `most` and `least` are its targets. Steady figures do not depend on what else the machine does."""

    what: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None
    is_steady: bool = False

    @property
    def is_met(self) -> bool | None:
        """None where there is no target."""
        if self.most is None and self.least is None:
            return None
        return (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)

    @property
    def target(self) -> str:
        most = "" if self.most is None else f"≤ {self.most:g} {self.unit}"
        return most if self.least is None else f"≥ {self.least:g} {self.unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server under measurement, that can be ended and started again where it was."""

    process: ServerProcess
    config: "ConfigServiceAsyncStub"

    @property
    def pid(self) -> int:
        return self.process.process.pid


class Bench:
    """Measures on one core, `core`, or wherever the system likes."""

    def __init__(self, core: int | None) -> None:
        self._core = core

    @asynccontextmanager
    async def server(self, store: str, listen: str = "127.0.0.1:0") -> AsyncIterator[Running]:
        """A server over the store at that address."""
        arguments = (*_QUIETLY, "--listen", listen, "--store", store)
        with starting_on(self._core):
            starting = server_process(*arguments)
            process = await starting.__aenter__()
        try:
            async with aio.insecure_channel(process.address, options=_UNLIMITED) as channel:
                yield Running(process=process, config=ConfigServiceStub(channel))
        finally:
            await starting.__aexit__(None, None, None)

    @asynccontextmanager
    async def _fresh(self, resources: int = 0) -> AsyncIterator[Running]:
        with tempfile.TemporaryDirectory(prefix="janua-bench-") as directory:
            async with self.server(f"sqlite:///{directory}/config.db") as running:
                await fill(running, resources)
                yield running

    async def large_apply(self, resources: int) -> Figure:
        """All of them in one Apply."""
        async with self._fresh() as running:
            request = batch(*world(resources))
            start = time.monotonic()
            await running.config.Apply(request)
            took = time.monotonic() - start
        return Figure(what=f"Apply of {resources:,} resources", value=took, unit="s", most=3)

    async def small_applies(self, resources: int, seconds: float) -> Figure:
        """Of one changed route each, by writers at once."""
        async with self._fresh(resources) as running:
            made = await write_for(seconds, [running], resources)
        what = f"Applies of one change, {WRITERS} writers, {resources:,} resources"
        return Figure(what=what, value=len(made) / seconds, unit="/s", least=200)

    async def small_world(self, *, nodes: int, resources: int, changes: int, idle_s: float) -> AsyncIterator[Figure]:
        """A fleet over few resources: first sync, changes, rest."""
        async with self._fresh(resources) as running, discovery_fleet(running.process.address) as fleet:
            alone = resident_bytes(running.pid)
            start = time.monotonic()
            await fleet.connect(nodes)
            took = time.monotonic() - start
            yield Figure(what=f"{nodes:,} nodes, {resources:,} resources, all synced", value=took, unit="s", most=3)
            memory = (resident_bytes(running.pid) - alone) / nodes / _KIB
            yield Figure(what="memory of an idle stream", value=memory, unit="KiB", most=80, is_steady=True)
            cpu, start = cpu_seconds(running.pid), time.monotonic()
            await asyncio.sleep(idle_s)
            share = (cpu_seconds(running.pid) - cpu) / (time.monotonic() - start) * 100
            yield Figure(what=f"CPU of the server at rest, {nodes:,} nodes", value=share, unit="%", most=6)
            async for figure in self._changes(running, fleet, nodes=nodes, resources=resources, changes=changes):
                yield figure

    async def _changes(
        self, running: Running, fleet: FleetProcess, *, nodes: int, resources: int, changes: int
    ) -> AsyncIterator[Figure]:
        before, cpu = await fleet.look(), cpu_seconds(running.pid)
        single = [
            await _until_last(running, fleet, batch(changed_route(number, resources, f"change {number}")))
            for number in range(changes)
        ]
        cpu = (cpu_seconds(running.pid) - cpu) / changes / nodes * 1000
        sent = ((await fleet.look()).resources - before.resources) / changes / nodes
        yield Figure(
            what=f"Apply of one change → last of {nodes:,} ACKs, p50",
            value=statistics.median(single) * 1000,
            unit="ms",
            most=200,
        )
        p99 = statistics.quantiles(single, n=100)[98] * 1000
        yield Figure(what=f"Apply of one change → last of {nodes:,} ACKs, p99", value=p99, unit="ms", most=450)
        yield Figure(what="CPU of the server, a node and change", value=cpu, unit="ms", most=0.3)
        what = "resources sent to a node for one change"
        yield Figure(what=what, value=sent, unit="", most=1, least=1, is_steady=True)
        routes = range(min(100, resources - resources // 10))
        large = [
            await _until_last(
                running, fleet, batch(*(changed_route(route, resources, f"round {number}") for route in routes))
            )
            for number in range(5)
        ]
        what = f"Apply of {len(routes)} changes → last of {nodes:,} ACKs, p50"
        yield Figure(what=what, value=statistics.median(large) * 1000, unit="ms", most=450)

    async def cold_sync(self, *, nodes: int, resources: int) -> Figure:
        """Nodes that hold nothing, and many resources."""
        async with self._fresh(resources) as running, discovery_fleet(running.process.address) as fleet:
            start = time.monotonic()
            seen = await fleet.connect(nodes)
            took = time.monotonic() - start
            assert seen.resources == nodes * resources, seen
        return Figure(what=f"{resources:,} resources → {nodes:,} nodes, cold", value=took, unit="s", most=3)

    async def large_world(self, *, nodes: int, resources: int) -> AsyncIterator[Figure]:
        """A fleet that holds many resources: a restart, its memory, one change."""
        with tempfile.TemporaryDirectory(prefix="janua-bench-") as directory:
            store = f"sqlite:///{directory}/config.db"
            async with self.server(store) as running:
                await fill(running, resources)
                address = running.process.address
                async with discovery_fleet(address) as fleet:
                    await fleet.connect(1)
                    before = await fleet.connect(nodes - 1)
                    running.process.kill()
                    await running.process.process.wait()
                    start = time.monotonic()
                    async with self.server(store, address) as again:
                        seen = await fleet.has_synced(before.synced + nodes)
                        took = time.monotonic() - start
                        what = f"a restart, {nodes:,} nodes with {resources:,} resources:"
                        resent = seen.resources - before.resources
                        yield Figure(what=f"{what} resent", value=resent, unit="", most=0, is_steady=True)
                        yield Figure(what=f"{what} all synced again", value=took, unit="s")
                        memory = resident_bytes(again.pid) / _MIB
                        what = f"memory, {nodes:,} nodes with {resources:,} resources"
                        yield Figure(what=what, value=memory, unit="MiB", most=400, is_steady=True)
                        await _until_last(again, fleet, batch(changed_route(0, resources, "changed")))
                        size = ((await fleet.look()).bytes - seen.bytes) / nodes
                        what = f"one change of {resources:,} resources, on the wire to and from a node"
                        yield Figure(what=what, value=size, unit="bytes", most=1024, is_steady=True)


async def write_for(seconds: float, servers: Sequence[Running], resources: int) -> list[int]:
    """Applies of one changed route each, by writers at once. Gives the revisions that were acknowledged."""
    end = time.monotonic() + seconds

    async def write(writer: int) -> list[int]:
        config, made = servers[writer % len(servers)].config, list[int]()
        while time.monotonic() < end:
            response = await config.Apply(batch(changed_route(writer, resources, f"change {len(made)}")))
            made.append(response.revision)
        return made

    return [revision for made in await asyncio.gather(*map(write, range(WRITERS))) for revision in made]


async def _until_last(running: Running, fleet: FleetProcess, request: ApplyRequest) -> float:
    """Seconds from the answer of Apply to the last node's acknowledgement."""
    response = await running.config.Apply(request)
    start = time.monotonic()
    seen = await fleet.has(response.revision)
    return max(0.0, seen.last - start)


def world(resources: int) -> Sequence[ConfigMessage]:
    """So many resources: an upstream and a service for every 18 routes, as in a large gateway."""
    made: list[ConfigMessage] = []
    for group in range(_groups(resources)):
        made += [upstream(f"u{group}"), service(f"s{group}", upstream=f"u{group}")]
    return [*made, *(changed_route(number, resources, "") for number in range(resources - len(made)))]


def changed_route(number: int, resources: int, text: str) -> ConfigMessage:
    """One of the routes of a world of so many resources."""
    return route(f"r{number}", service=f"s{number % _groups(resources)}", description=text)


def _groups(resources: int) -> int:
    return max(1, resources // 20)


async def fill(running: Running, resources: int) -> None:
    """Applies a world, in as many batches as it takes."""
    made = world(resources) if resources else ()
    for start in range(0, len(made), _MOST_PER_APPLY):
        await running.config.Apply(batch(*made[start : start + _MOST_PER_APPLY]))
