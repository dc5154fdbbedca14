"""A server that is killed at any moment loses no revision that it has acknowledged, and keeps none by halves."""

import asyncio
import random
from pathlib import Path

import pytest
from grpc import aio
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub

from config_server.resources import StoredWorld
from config_server.store.sqlite import open_sqlite
from tests.config_server.server_process import ServerProcess, server_process
from tests.config_server.worlds import batch, consumer

KILLS = 6
PER_BATCH = 25


async def apply_until_killed(server: ServerProcess, start: int) -> int:
    """Applies batch after batch, each of which gives all of its consumers its own number. Returns the last number
    that was acknowledged."""
    acknowledged = start
    async with aio.insecure_channel(server.address) as channel:
        config = ConfigServiceStub(channel)
        while True:
            number = acknowledged + 1
            made = [consumer(f"c{each}", description=str(number)) for each in range(PER_BATCH)]
            try:
                response = await config.Apply(batch(*made, consumer(f"only-{number}")))
            except aio.AioRpcError:
                return acknowledged
            assert response.revision == number
            acknowledged = number


async def world_at(path: Path) -> StoredWorld:
    async with open_sqlite(f"sqlite:///{path}") as store:
        world = await store.load()
        for revision in range(1, world.revision + 1):
            assert len(await store.changes_of(revision)) == PER_BATCH + 1
    return world


@pytest.mark.timeout(180)
async def test_killed_at_random(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    acknowledged = 0
    for _ in range(KILLS):
        async with server_process("--listen", "127.0.0.1:0", "--store", f"sqlite:///{path}") as server:
            applying = asyncio.create_task(apply_until_killed(server, acknowledged))
            await asyncio.sleep(chance.uniform(0.05, 0.4))  # the moment is the point
            server.kill()
            acknowledged = await applying
        world = await world_at(path)
        # The last one may have been committed without being acknowledged.
        assert world.revision in (acknowledged, acknowledged + 1), f"seed {seed}"
        acknowledged = world.revision
        content = {entry.decode().description for key, entry in world.entries.items() if key.name.startswith("c")}
        assert content <= {str(world.revision)}, f"half of a revision was kept: {content}, seed {seed}"
        single = {key.name for key in world.entries if key.name.startswith("only-")}
        assert single == {f"only-{number}" for number in range(1, world.revision + 1)}
    assert acknowledged > KILLS
