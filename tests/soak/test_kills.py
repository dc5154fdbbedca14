"""Everything around a node dies again and again while fifty streams run: no request that could be answered fails, and
the node's memory stays where it is. `JANUA_SOAK_SECONDS` sets how long; default ten minutes."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from tests.benchmarks.procfs import resident_bytes
from tests.integration.configuration import admin, apply, ask, pool
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, EchoFactory, EchoServer, Node, NodeFactory

pytestmark = pytest.mark.soak

SECONDS = float(os.environ.get("JANUA_SOAK_SECONDS", "600"))
STREAMS = 50
MOST_DRIFT = 10 << 20  # bytes


class Clients:
    """Streams that run all the time. A failure counts if nothing was killed while the request ran."""

    def __init__(self, node: Node) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self.kills = 0
        self._node = node
        self._ended = asyncio.Event()

    async def run(self, session: aiohttp.ClientSession) -> None:
        while not self._ended.is_set():
            kills = self.kills
            try:
                await ask(session, self._node, "one two three four five six seven eight")
                self.answered += 1
            except (RuntimeError, aiohttp.ClientError) as error:
                if kills == self.kills:
                    self.failures.append(str(error))

    def end(self) -> None:
        self._ended.set()


async def test_fifty_streams_while_everything_around_the_node_dies(
    config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory
) -> None:
    models = await echo_models(2, "--word-delay", "0.005")
    gateway = await node(config_server, "--access-log", "off")
    await apply(config_server, pool([model.address for model in models]))
    clients = Clients(gateway)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(STREAMS):
            group.create_task(clients.run(session))
        memory = await _kill_for(SECONDS, clients, session, gateway, models, config_server)
        clients.end()
    assert clients.failures == []
    assert clients.kills >= 3
    assert clients.answered > clients.kills * STREAMS
    assert memory[-1] - memory[len(memory) // 10] < MOST_DRIFT, memory


async def _kill_for(
    seconds: float,
    clients: Clients,
    session: aiohttp.ClientSession,
    gateway: Node,
    models: list[EchoServer],
    config_server: ConfigServer,
) -> list[int]:
    """Kills one after the other, each back before the next dies; returns the node's memory after each."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    memory: list[int] = []
    for victim in itertools.cycle([*models, config_server]):
        if loop.time() > end:
            return memory
        clients.kills += 1
        await victim.kill()
        clients.kills += 1
        answered = clients.answered
        await eventually(_reached(clients, answered + 4 * STREAMS))
        await victim.restart()
        await eventually(_all_well(session, gateway))
        memory.append(resident_bytes(gateway.pid))
    raise AssertionError("the cycle has no end")


def _reached(clients: Clients, answers: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return clients.answered >= answers

    return reached


def _all_well(session: aiohttp.ClientSession, gateway: Node) -> Callable[[], Awaitable[bool]]:
    async def all_well() -> bool:
        endpoints = (await admin(session, gateway, "/endpoints"))["endpoints"]
        return all(endpoint["healthy"] for endpoint in endpoints)

    return all_well
