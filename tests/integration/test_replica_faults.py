"""Config servers over one PostgreSQL while something breaks: a server, the way to the database, its memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import count

import asyncpg
import grpc
import pytest
from grpc import aio
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from janua_client.config_client import ConfigClient
from janua_client.errors import JanuaError

from tests.config_server.ads_client import ads_client, names, versions
from tests.config_server.worlds import UPSTREAM, batch, upsert, upstream
from tests.integration.replicas import Fleet, start, state
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Fault, Reset, Stall
from tests.support.polling import eventually
from tests.support.postgres_server import PostgresServer
from tests.support.processes import NodeFactory

pytestmark = [pytest.mark.component("postgres"), pytest.mark.timeout(180)]


class Writer:
    """Applies one upstream after the other, and knows which of them were acknowledged."""

    def __init__(self, address: str, name: str, stop: asyncio.Event) -> None:
        self.acknowledged: dict[str, int] = {}
        self.failures: list[JanuaError] = []
        self._address = address
        self._name = name
        self._stop = stop

    async def run(self) -> None:
        async with ConfigClient(self._address, timeout=15) as client:
            for number in count():
                if self._stop.is_set():
                    return
                name = f"{self._name}-{number}"
                try:
                    answer = await client.apply([upsert(upstream(name))])
                except JanuaError as error:
                    self.failures.append(error)
                    await asyncio.sleep(0.05)
                else:
                    self.acknowledged[name] = answer.revision


def check_kept(writers: list[Writer], found: dict[str, str]) -> None:
    """No acknowledged write is lost, and no revision was given twice."""
    acknowledged = [each for writer in writers for each in writer.acknowledged.items()]
    assert {name for name, _ in acknowledged} <= found.keys()
    revisions = [revision for _, revision in acknowledged]
    assert len(revisions) == len(set(revisions))


async def test_one_of_three_is_killed_under_load(fleet: Fleet, node: NodeFactory) -> None:
    addresses = [server.address for server in fleet.servers]
    await node(",".join(addresses))
    stop = asyncio.Event()
    writers = [Writer(address, f"w{number}", stop) for number, address in enumerate(addresses * 2)]
    async with asyncio.TaskGroup() as tasks, fleet.client(1) as second:

        async def everybody_writes() -> bool:
            return all(len(writer.acknowledged) >= 3 for writer in writers)

        async def survivors_write_on() -> bool:
            return all(len(writer.acknowledged) >= before + 3 for writer, before in survivors)

        for writer in writers:
            tasks.create_task(writer.run())
        await eventually(everybody_writes)
        fleet.servers[0].kill()
        survivors = [(writer, len(writer.acknowledged)) for index, writer in enumerate(writers) if index % 3]
        await eventually(survivors_write_on, timeout_s=60)
        stop.set()
        revision = max(max(writer.acknowledged.values()) for writer in writers)
        # The node has gone to another server by itself, and has everything.
        progress = await second.wait_for_rollout(revision, connected_at_commit=1, timeout=30)
        assert [each.node_id for each in progress.synced] == ["node-1"]
    assert [str(each) for writer, _ in survivors for each in writer.failures] == []
    worlds = []
    for index in (1, 2):
        async with fleet.client(index) as client:
            worlds.append(await state(client, revision))
    assert worlds[0] == worlds[1]
    check_kept(writers, worlds[0])


async def test_a_database_that_crashes_under_load_loses_nothing(own_postgres: PostgresServer) -> None:
    url = await own_postgres.new_database()
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        servers = [await start(stack, url, f"replica-{name}") for name in "ab"]
        writers = [Writer(server.address, f"w{number}", stop) for number, server in enumerate(servers * 2)]
        async with asyncio.TaskGroup() as tasks:

            async def write_more() -> None:
                before = [len(writer.acknowledged) for writer in writers]

                async def have_written() -> bool:
                    return all(len(w.acknowledged) >= n + 3 for w, n in zip(writers, before, strict=True))

                await eventually(have_written, timeout_s=60)

            for writer in writers:
                tasks.create_task(writer.run())
            for _ in range(2):
                await write_more()
                await asyncio.to_thread(own_postgres.kill)
                await asyncio.to_thread(own_postgres.start)
            await write_more()
            stop.set()
        revision = max(max(writer.acknowledged.values()) for writer in writers)
        for server in servers:
            async with ConfigClient(server.address) as client:
                check_kept(writers, await state(client, revision))


@pytest.fixture
async def way(own_postgres: PostgresServer) -> AsyncIterator[FaultProxy]:
    """To a database."""
    proxy = FaultProxy(f"127.0.0.1:{own_postgres.port}")
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.mark.parametrize("fault", [Stall(), Reset()])
async def test_a_server_that_is_cut_off_from_the_database(
    own_postgres: PostgresServer, way: FaultProxy, fault: Fault
) -> None:
    url = await own_postgres.new_database()
    through = url.replace(f"127.0.0.1:{own_postgres.port}", way.address)
    async with AsyncExitStack() as stack:
        far, near = await start(stack, through, "far"), await start(stack, url, "near")
        first, second = [await stack.enter_async_context(ConfigClient(each.address)) for each in (far, near)]
        channel = await stack.enter_async_context(aio.insecure_channel(far.address))
        node = await stack.enter_async_context(ads_client(channel))
        await first.apply([upsert(upstream("u"))])
        assert names(await node.ask(UPSTREAM)) == ["u"]
        way.fault = fault
        begun = asyncio.get_running_loop().time()
        with pytest.raises(aio.AioRpcError) as raised:
            await ConfigServiceStub(channel).Apply(batch(upstream("v")), timeout=20)
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        assert asyncio.get_running_loop().time() - begun < 12
        assert await state(first, 1) == {"u": ""}, "what is known is told all the while"
        revision = (await second.apply([upsert(upstream("w"))])).revision
        way.fault = None
        assert "w" in await state(first, revision)
        assert names(await node.receive_and_ack()) == ["w"], "the stream has lived through it"
        answer = await first.apply([upsert(upstream("x"))])
        assert "x" in await state(second, answer.revision)


async def replace_last_revision(url: str) -> None:
    """As a standby would be that took over before it had revision 2, of which another one has been made since."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "BEGIN; UPDATE janua.revisions SET time = time + 1 WHERE revision = 2;"
        "UPDATE janua.changes SET (body, digest) = (SELECT body, digest FROM janua.changes WHERE at_revision = 1)"
        " WHERE at_revision = 2;"
        "UPDATE janua.resources SET (body, digest) ="
        " (SELECT body, digest FROM janua.changes WHERE at_revision = 1); COMMIT"
    )
    await connection.close()


async def test_a_store_that_went_back_and_on_again_is_not_taken_for_the_same(fleet: Fleet) -> None:
    async with fleet.client(0) as client:
        await client.apply([upsert(upstream("u"))])
        await client.apply([upsert(upstream("u", description="lost"))])
    async with fleet.client(1) as second, fleet.client(2) as third:
        for client in (second, third):
            assert await state(client, 2) == {"u": "lost"}
        async with aio.insecure_channel(fleet.servers[1].address) as channel, ads_client(channel) as node:
            held = versions(await node.ask(UPSTREAM))
        await replace_last_revision(fleet.url)

        async def is_seen() -> bool:
            try:
                return [await state(each, 2) for each in (second, third)] == [{"u": ""}] * 2
            except aio.AioRpcError:
                return False

        await eventually(is_seen)
        assert (await third.apply([upsert(upstream("v"))])).revision == 3
        assert set(await state(second, 3)) == {"u", "v"}
    async with aio.insecure_channel(fleet.servers[1].address) as channel, ads_client(channel) as node:
        assert names(await node.ask(UPSTREAM, initial=held)) == ["u", "v"], "nodes come to what is there"


async def test_a_store_that_is_emptied_empties_no_node(fleet: Fleet) -> None:
    async with fleet.client(0) as client:
        await client.apply([upsert(upstream("u"))])
    async with aio.insecure_channel(fleet.servers[0].address) as channel, ads_client(channel) as node:
        held = versions(await node.ask(UPSTREAM))
    connection = await asyncpg.connect(fleet.url)
    await connection.execute(
        "TRUNCATE janua.resources, janua.changes, janua.revisions;UPDATE janua.meta SET epoch = 'another', revision = 0"
    )
    await connection.close()
    async with fleet.client(0) as client:

        async def is_empty() -> bool:
            try:
                return await state(client, 0) == {}
            except aio.AioRpcError:
                return False

        await eventually(is_empty)
    async with aio.insecure_channel(fleet.servers[0].address) as channel, ads_client(channel) as node:
        with pytest.raises(aio.AioRpcError) as raised:
            await node.ask(UPSTREAM, initial=held)
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
