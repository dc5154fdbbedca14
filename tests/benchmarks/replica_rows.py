"""What is measured of three config servers over one PostgreSQL, row by row."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from janua.config.v1.config_service_pb2 import ListResourcesRequest

from tests.benchmarks.config_rows import WRITERS, Bench, Figure, Running, fill, write_for
from tests.benchmarks.cores import starting_on
from tests.benchmarks.fleet_process import FleetProcess, discovery_fleet
from tests.support.postgres_server import PostgresServer

SERVERS = 3


@dataclass(slots=True)
class _Replica:
    """A server that is killed, and started again where it was."""

    running: Running
    stack: AsyncExitStack

    @property
    def address(self) -> str:
        return self.running.process.address


class ReplicaBench:
    """Measures on the core of `bench`; the database too is there, and writes to the disk what it commits."""

    def __init__(self, bench: Bench, core: int | None) -> None:
        self._bench = bench
        self._core = core

    @asynccontextmanager
    async def _database(self) -> AsyncIterator[str]:
        postgres = PostgresServer(syncs=True)
        try:
            with starting_on(self._core):
                postgres.start()
            yield await postgres.new_database()
        finally:
            postgres.stop()

    async def _start(self, store: str, listen: str = "127.0.0.1:0") -> _Replica:
        stack = AsyncExitStack()
        return _Replica(await stack.enter_async_context(self._bench.server(store, listen)), stack)

    @asynccontextmanager
    async def _replicas(self, resources: int) -> AsyncIterator[tuple[str, list[_Replica]]]:
        async with self._database() as store:
            replicas = [await self._start(store) for _ in range(SERVERS)]
            try:
                await fill(replicas[0].running, resources)
                yield store, replicas
            finally:
                for replica in replicas:
                    await replica.stack.aclose()

    async def small_applies(self, resources: int, seconds: float) -> AsyncIterator[Figure]:
        """Of one changed route each, by writers at once, spread over the servers."""
        async with self._replicas(resources) as (_, replicas):
            servers = [replica.running for replica in replicas]
            before = await _revision(servers[0])
            made = await write_for(seconds, servers, resources)
            after = await _revision(servers[-1], max(made))
        what = f"{SERVERS} servers and PostgreSQL: Applies of one change, {WRITERS} writers"
        yield Figure(what=what, value=len(made) / seconds, unit="/s", least=150)
        lost = len(made) - len({revision for revision in made if before < revision <= after})
        yield Figure(what="… of them lost", value=lost, unit="", most=0, is_steady=True)
        yield Figure(
            what="… of which nobody was told", value=after - before - len(made), unit="", most=0, is_steady=True
        )

    async def failover(self, *, nodes: int, resources: int, most_s: float | None) -> AsyncIterator[Figure]:
        """Each server is killed in turn, and started again before the next one."""
        async with (
            self._replicas(resources) as (store, replicas),
            discovery_fleet(*(replica.address for replica in replicas)) as fleet,
        ):
            await fleet.connect(1)
            before = await fleet.connect(nodes - 1)
            times = []
            for index in range(SERVERS):
                times.append(await _time_of_failover(fleet, replicas[index].running, index))
                await replicas[index].stack.aclose()
                replicas[index] = await self._start(store, replicas[index].address)
            resent = (await fleet.look()).resources - before.resources
        what = f"{SERVERS} servers, each killed once, {nodes:,} nodes with {resources:,} resources:"
        yield Figure(what=f"{what} the last synced again", value=max(times), unit="s", most=most_s)
        yield Figure(what=f"{what} resent", value=resent, unit="", most=0, is_steady=True)


async def _time_of_failover(fleet: FleetProcess, victim: Running, index: int) -> float:
    """Seconds from the death of a server until the last of its nodes has synced at another."""
    before = await fleet.look()
    start = time.monotonic()
    victim.process.kill()
    await victim.process.process.wait()
    seen = await fleet.has_synced(before.synced + before.at[index])
    return seen.last_sync - start


async def _revision(server: Running, min_revision: int = 0) -> int:
    """The one that the server is at, once it has that one."""
    response = await server.config.ListResources(ListResourcesRequest(page_size=1, min_revision=min_revision))
    return response.revision
