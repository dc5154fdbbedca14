"""Config servers that are killed at any moment lose nothing that they told, and leave nothing half done.

`JANUA_KILLS` sets how often; 20 here, 200 in `make soak`.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from grpc import aio
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub

from tests.config_server.faults.fleet import Server, servers
from tests.config_server.faults.workload import SEED, Workload, eventually_more, working
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Cut, Fault, Reset, Stall
from tests.support.postgres_server import PostgresServer

KILLS = int(os.environ.get("JANUA_KILLS", "20"))

_STOPPED_S = 0.3
_DEATH_S = 10.0


class Killer:
    """Ends servers, one after the other, at moments and at points of their work."""

    def __init__(self, fleet: list[Server], workload: Workload, point: Callable[[random.Random], str]) -> None:
        self._fleet = fleet
        self._workload = workload
        self._point = point
        self._random = random.Random(SEED)
        self.kills: Counter[str] = Counter()

    async def run(self, kills: int) -> None:
        while self.kills.total() < kills:
            victim = self._fleet[self.kills.total() % len(self._fleet)]
            # Mostly at work, now and then while it starts.
            if self._random.random() < 0.8:
                await eventually_more(self._workload, self._workload.acknowledged, lambda: True)
            await asyncio.sleep(self._random.uniform(0, 0.1))  # the moment is the point
            if self._random.random() < 0.2:
                victim.send(signal.SIGSTOP)
                await asyncio.sleep(_STOPPED_S)
                victim.send(signal.SIGCONT)
                continue
            await victim.kill()
            self.kills["moment"] += 1
            if self._random.random() < 0.7:
                point = self._point(self._random)
                await victim.start(dies_at=point)
                if await victim.has_died(within_s=_DEATH_S):
                    self.kills[point.partition(":")[0]] += 1
                await victim.kill()
            await victim.start()


@pytest.mark.timeout(60 + 20 * KILLS)
async def test_a_server_that_is_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "config.db"

    def point(chance: random.Random) -> str:
        log = path.with_name("config.db-wal")
        size = log.stat().st_size if log.exists() else 0
        return chance.choice(
            [
                f"statement:{chance.randrange(1, 80)}",
                f"byte:{chance.randrange(size * 3 // 4, size + 50_000)}",
                f"committed:{chance.randrange(1, 5)}",
                f"moved-on:{chance.randrange(1, 5)}",
            ]
        )

    async with servers(f"sqlite:///{path}", 1) as fleet, working(fleet[0].address) as workload:
        killer = Killer(fleet, workload, point)
        await killer.run(KILLS)
    assert len(killer.kills) > 2, killer.kills


@pytest.mark.component("postgres")
@pytest.mark.timeout(60 + 20 * KILLS)
async def test_servers_over_one_database_that_are_killed_at_any_moment(postgres_url: str) -> None:
    def point(chance: random.Random) -> str:
        return f"{chance.choice(['committed', 'moved-on'])}:{chance.randrange(1, 5)}"

    async with servers(postgres_url, 2) as fleet, working(*(server.address for server in fleet)) as workload:
        await Killer(fleet, workload, point).run(max(KILLS // 2, 1))


async def is_ready(server: Server) -> None:
    async with aio.insecure_channel(server.address) as channel:
        await ConfigServiceStub(channel).ListNodes(pb.ListNodesRequest(), wait_for_ready=True, timeout=60)


@pytest.mark.component("postgres")
async def test_a_database_that_is_killed_under_load(own_postgres: PostgresServer) -> None:
    store = await own_postgres.new_database()
    async with servers(store, 2) as fleet, working(*(server.address for server in fleet)) as workload:
        await asyncio.gather(*(is_ready(server) for server in fleet))  # one that finds no database as it starts ends
        for _ in range(3):
            await eventually_more(workload, workload.acknowledged + 20, lambda: True)
            await asyncio.to_thread(own_postgres.kill)
            await asyncio.to_thread(own_postgres.start)


async def test_connections_that_are_cut_broken_and_stalled(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    async with servers(f"sqlite:///{tmp_path / 'config.db'}", 1) as fleet:
        proxy = FaultProxy(fleet[0].address)
        await proxy.start()
        try:
            async with working(proxy.address) as workload:
                for _ in range(KILLS):
                    passing = chance.randrange(3000)
                    faults: list[Fault] = [Cut(passing), Reset(passing), Stall(passing)]
                    proxy.fault = chance.choice(faults)
                    await asyncio.sleep(chance.uniform(0, 0.2))  # the moment is the point
                    proxy.fault = None
                    await eventually_more(workload, workload.acknowledged, lambda: True)
        finally:
            await proxy.stop()
    assert proxy.connections > KILLS // 4
