"""Killing one of two model servers under load."""

import asyncio
import itertools
from datetime import datetime

import aiohttp

from tests.integration.configuration import admin, apply, ask, pool
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, EchoFactory, EchoServer, Node, NodeFactory

CONCURRENT = 50
AFTER_KILL = 400


async def _endpoint(session: aiohttp.ClientSession, node: Node, address: str) -> dict[str, object]:
    endpoints = (await admin(session, node, "/endpoints"))["endpoints"]
    return next(endpoint for endpoint in endpoints if endpoint["address"] == address)


async def test_no_new_request_fails_when_a_model_server_dies(
    config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory
) -> None:
    victim, other = await echo_models(2, "--word-delay", "0.005")
    gateway = await node(config_server)
    await apply(config_server, pool([victim.address, other.address]))
    is_killed = asyncio.Event()
    started_after_kill = itertools.count()
    enough = asyncio.Event()
    failures: list[str] = []

    async def client(session: aiohttp.ClientSession) -> None:
        while not enough.is_set():
            is_new = is_killed.is_set()
            if is_new and next(started_after_kill) >= AFTER_KILL:
                enough.set()
            try:
                await ask(session, gateway, "one two three four five")
            except (RuntimeError, aiohttp.ClientError) as error:
                if is_new:
                    failures.append(str(error))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async with asyncio.TaskGroup() as clients:
            for _ in range(CONCURRENT):
                clients.create_task(client(session))
            await ask(session, gateway, "warm")
            before = datetime.now().astimezone()
            await victim.kill()
            is_killed.set()
        assert failures == []

        # A check that was under way broke with its connection; the next one is refused.
        async def is_refused() -> bool:
            return "refused" in str((await _endpoint(session, gateway, victim.address))["reason"])

        await eventually(is_refused)
        dead = await _endpoint(session, gateway, victim.address)
        assert dead["healthy"] is False
        assert datetime.fromisoformat(str(dead["since"])) >= before

        # On a busy machine a check may not be answered in time, and the next one is.
        async def are_well(*models: EchoServer) -> bool:
            return all([(await _endpoint(session, gateway, model.address))["healthy"] is True for model in models])

        await eventually(lambda: are_well(other))
        await victim.restart()
        await eventually(lambda: are_well(victim, other))
        answers = {(await ask(session, gateway, "who")).split()[0] for _ in range(4)}
        assert answers == {"echo-1", "echo-2"}
