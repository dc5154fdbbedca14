"""Config servers that are killed at any moment lose nothing that they told, and leave nothing half done.

`JANUA_KILLS` sets how often; 20 here, 200 in `make soak`.
"""

import asyncio
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.config_server.faults.history import violations
from tests.config_server.faults.workload import Workload, clients, eventually_more
from tests.config_server.server_process import command, environment
from tests.support.postgres_server import PostgresServer

KILLS = int(os.environ.get("JANUA_KILLS", "20"))
SEED = int(os.environ.get("JANUA_SEED", "1"))


class Server:
    """A server on one port, that is started again and again."""

    def __init__(self, store: str, replica: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._arguments = ("--listen", self.address, "--store", store, "--replica-id", replica)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Does not wait until it is ready: it may be killed before that too."""
        quiet = ("--log-level", "error")
        self._process = await asyncio.create_subprocess_exec(
            *command(*self._arguments, *quiet), stdout=asyncio.subprocess.DEVNULL, env=environment()
        )

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        if self.is_alive:
            self.send(signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()


@asynccontextmanager
async def servers(store: str, count: int) -> AsyncIterator[list[Server]]:
    made = [Server(store, f"replica-{number}") for number in range(count)]
    try:
        for server in made:
            await server.start()
        yield made
    finally:
        for server in made:
            await server.kill()


async def run(store: str, *, count: int, kills: int) -> None:
    """Kills one server after the other while clients work, then compares what they saw."""
    random_ = random.Random(SEED)
    async with servers(store, count) as fleet, clients([server.address for server in fleet]) as stubs:
        workload = Workload(stubs, SEED)
        running = asyncio.create_task(workload.run())
        await eventually_more(workload, 0, lambda: fleet[0].is_alive)
        for number in range(kills):
            victim = fleet[number % count]
            # Mostly at work, now and then while it starts.
            if number % 5 != 4:
                await eventually_more(workload, workload.acknowledged, lambda: True)
            await asyncio.sleep(random_.uniform(0, 0.1))
            if number % 7 == 6:
                victim.send(signal.SIGSTOP)
                await asyncio.sleep(0.3)
                victim.send(signal.SIGCONT)
            else:
                await victim.kill()
                await victim.start()
            assert not running.done(), running.exception()
        await eventually_more(workload, workload.acknowledged, lambda: True)
        await workload.finish()
        async with asyncio.timeout(60):
            await running
            await workload.read_log()
    history = workload.history
    assert violations(history) == []
    assert len(history.writes) > kills
    assert history.reads
    assert history.watched


@pytest.mark.timeout(60 + 20 * KILLS)
async def test_a_server_that_is_killed_at_any_moment(tmp_path: Path) -> None:
    await run(f"sqlite:///{tmp_path / 'config.db'}", count=1, kills=KILLS)


@pytest.mark.component("postgres")
@pytest.mark.timeout(60 + 20 * KILLS)
async def test_servers_over_one_database_that_are_killed_at_any_moment(postgres_url: str) -> None:
    await run(postgres_url, count=2, kills=max(KILLS // 2, 1))


@pytest.mark.component("postgres")
async def test_a_database_that_is_killed_under_load(own_postgres: PostgresServer) -> None:
    store = await own_postgres.new_database()
    async with servers(store, 2) as fleet, clients([server.address for server in fleet]) as stubs:
        workload = Workload(stubs, SEED)
        running = asyncio.create_task(workload.run())
        for _ in range(3):
            await eventually_more(workload, workload.acknowledged + 20, lambda: True)
            await asyncio.to_thread(own_postgres.kill)
            await asyncio.to_thread(own_postgres.start)
            assert not running.done(), running.exception()
        await eventually_more(workload, workload.acknowledged, lambda: True)
        await workload.finish()
        async with asyncio.timeout(60):
            await running
            await workload.read_log()
    assert violations(workload.history) == []
