"""Several config servers over one PostgreSQL, each a process: any takes writes, all serve nodes, one may die."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import grpc
import pytest
from grpc import aio
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from janua.config.v1.resource_pb2 import KIND_UPSTREAM, ResourceKey
from janua_client.config_client import ConfigClient

from tests.config_server.ads_client import ads_client, names, versions
from tests.config_server.server_process import server_process
from tests.config_server.worlds import UPSTREAM, batch, upsert, upstream
from tests.integration.replicas import Fleet, start, state
from tests.support.polling import eventually
from tests.support.postgres_server import PostgresServer
from tests.support.processes import NodeFactory

pytestmark = pytest.mark.component("postgres")

WRITERS, WRITES = 8, 12


async def test_writers_on_all_servers_lose_nothing(fleet: Fleet) -> None:
    async def write(writer: int) -> list[int]:
        revisions = []
        async with fleet.client(writer % 3) as client:
            for number in range(WRITES):
                # One of its own, and one that all fight for.
                answer = await client.apply(
                    [
                        upsert(upstream(f"own-{writer}-{number}")),
                        upsert(upstream("all", description=f"{writer}-{number}")),
                    ]
                )
                revisions.append(answer.revision)
        return revisions

    revisions = sorted(each for made in await asyncio.gather(*map(write, range(WRITERS))) for each in made)
    assert revisions == list(range(1, WRITERS * WRITES + 1))
    states = []
    for index in range(3):
        async with fleet.client(index) as client:
            states.append(await state(client, revisions[-1]))
    assert states[0] == states[1] == states[2]
    assert len(states[0]) == WRITERS * WRITES + 1


async def test_an_etag_is_checked_against_what_another_server_has_just_written(fleet: Fleet) -> None:
    async with fleet.client(0) as first, fleet.client(1) as second:
        await first.apply([upsert(upstream("u"))])
        etag = (await first.get(KIND_UPSTREAM, "u")).etag
        for number in range(10):
            await first.apply([upsert(upstream("u", description=str(number)), etag=etag)])
            with pytest.raises(Exception, match="has changed since its etag was read"):
                await second.apply([upsert(upstream("u", description="stale"), etag=etag)])
            # What the other has just written is no change, and what it has not is one.
            same = await second.apply([upsert(upstream("u", description=str(number)))])
            assert [each.outcome for each in same.results] == [pb.ChangeResult.OUTCOME_UNCHANGED]
            etag = same.results[0].etag


async def test_a_request_id_holds_on_all_servers(fleet: Fleet) -> None:
    async with fleet.client(0) as first, fleet.client(1) as second:
        answer = await first.apply([upsert(upstream("u"))], request_id="once")
        assert await second.apply([upsert(upstream("u"))], request_id="once") == answer
        revisions = [each async for each in second.revisions()]
    assert len(revisions) == 1


async def test_a_watch_of_one_server_sees_what_all_write(fleet: Fleet) -> None:
    async with fleet.client(2) as watcher, fleet.client(0) as first, fleet.client(1) as second:
        watch = watcher.watch()
        await anext(watch)
        for number in range(6):
            await (first, second)[number % 2].apply([upsert(upstream(f"u{number}"))])
        seen: list[int] = []
        async with asyncio.timeout(10):
            while len(seen) < 6:
                seen.append((await anext(watch)).revision)
        await watch.aclose()
    assert seen == [1, 2, 3, 4, 5, 6]


async def test_a_read_waits_for_what_was_written_elsewhere(fleet: Fleet) -> None:
    async with fleet.client(0) as first, fleet.client(1) as second:
        for number in range(20):
            revision = (await first.apply([upsert(upstream("u", description=str(number)))])).revision
            assert await state(second, revision) == {"u": str(number)}
        request = pb.GetResourceRequest(key=ResourceKey(kind=KIND_UPSTREAM, name="u"), min_revision=99)
        with pytest.raises(aio.AioRpcError) as raised:
            await second._stub.GetResource(request)
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert raised.value.details() == "this server has revision 20, and not 99 yet: try again"


async def test_a_node_that_goes_to_another_server_is_sent_nothing_that_it_has(fleet: Fleet) -> None:
    async with fleet.client(0) as first:
        revision = (await first.apply([upsert(upstream("u")), upsert(upstream("v"))])).revision
    async with aio.insecure_channel(fleet.servers[0].address) as channel, ads_client(channel) as node:
        answer = await node.ask(UPSTREAM)
        assert names(answer) == ["u", "v"]
        held = versions(answer)
    async with fleet.client(1) as second:
        await state(second, revision)
    async with aio.insecure_channel(fleet.servers[1].address) as channel, ads_client(channel) as node:
        again = await node.ask(UPSTREAM, initial=held)
        assert (names(again), list(again.removed_resources)) == ([], [])
        assert again.control_plane.identifier == "replica-b"


async def test_nodes_are_known_to_all_servers_and_lost_with_the_one_they_are_at(
    fleet: Fleet, node: NodeFactory
) -> None:
    addresses = ",".join(server.address for server in fleet.servers)
    gateway = await node(addresses)
    async with fleet.client(1) as second, fleet.client(2) as third:

        async def connected() -> bool:
            return [(each.id, each.connected) for each in (await second.nodes()).nodes] == [("node-1", True)]

        await eventually(connected)
        answer = await third.apply([upsert(upstream("u"))])

        async def synced() -> bool:
            rollout = await second.rollout(answer.revision)
            return [each.state for each in rollout.nodes] == [pb.NodeRollout.STATE_SYNCED]

        await eventually(synced)
        fleet.servers[0].kill()
        # It goes to the next server, which nobody has to tell it.
        revision = (await third.apply([upsert(upstream("v"))])).revision
        progress = await second.wait_for_rollout(revision, connected_at_commit=1, timeout=20)
        assert [each.node_id for each in progress.synced] == ["node-1"]
    assert await gateway.stop() == 0


async def connected_nodes(client: ConfigClient) -> list[str]:
    return [each.id for each in (await client.nodes()).nodes if each.connected]


async def test_a_server_that_has_just_started_knows_of_nodes_elsewhere(fleet: Fleet, node: NodeFactory) -> None:
    await node(fleet.servers[0].address)
    async with fleet.client(1) as second:

        async def is_known() -> bool:
            return await connected_nodes(second) == ["node-1"]

        await eventually(is_known)
    async with AsyncExitStack() as stack:
        new = await start(stack, fleet.url, "replica-d")
        async with ConfigClient(new.address) as client:
            assert await connected_nodes(client) == ["node-1"]


async def test_a_database_that_restarts_is_waited_for(own_postgres: PostgresServer) -> None:
    url = await own_postgres.new_database()
    async with AsyncExitStack() as stack:
        servers = [await start(stack, url, f"replica-{name}") for name in "ab"]
        first, second = [await stack.enter_async_context(ConfigClient(server.address)) for server in servers]
        channel = await stack.enter_async_context(aio.insecure_channel(servers[0].address))
        node = await stack.enter_async_context(ads_client(channel))
        await first.apply([upsert(upstream("u"))])
        assert names(await node.ask(UPSTREAM)) == ["u"]
        await asyncio.to_thread(own_postgres.kill)
        with pytest.raises(aio.AioRpcError) as raised:
            await ConfigServiceStub(channel).Apply(batch(upstream("v")))
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await state(first, 1) == {"u": ""}, "what is known is told all the while"
        await asyncio.to_thread(own_postgres.start)

        async def writes() -> bool:
            try:
                await ConfigServiceStub(channel).Apply(batch(upstream("w")))
            except aio.AioRpcError as error:
                return error.code() != grpc.StatusCode.UNAVAILABLE
            return True

        await eventually(writes)
        assert names(await node.receive_and_ack()) == ["w"], "the stream has lived through it"
        assert set(await state(second, 2)) == {"u", "w"}


async def test_a_store_that_went_back_is_loaded_anew(fleet: Fleet) -> None:
    async with fleet.client(0) as client:
        await client.apply([upsert(upstream("u"))])
        await client.apply([upsert(upstream("u", description="lost")), upsert(upstream("v"))])
        connection = await asyncpg.connect(fleet.url)
        # As a standby would be that took over before it had the last revision.
        await connection.execute(
            "BEGIN; UPDATE janua.meta SET revision = 1; DELETE FROM janua.changes WHERE at_revision = 2;"
            "DELETE FROM janua.revisions WHERE revision = 2; DELETE FROM janua.resources WHERE name = 'v';"
            "UPDATE janua.resources SET (body, digest, revision) ="
            " (SELECT body, digest, revision FROM janua.changes WHERE at_revision = 1); COMMIT"
        )
        await connection.close()

        async def is_back() -> bool:
            try:
                return await state(client, 0) == {"u": ""}
            except aio.AioRpcError:
                return False

        await eventually(is_back)
        answer = await client.apply([upsert(upstream("w"))])
        assert answer.revision == 2
    for index in range(3):
        async with fleet.client(index) as client:
            assert set(await state(client, 2)) == {"u", "w"}


async def test_the_ready_line_shows_no_password(postgres_url: str) -> None:
    url = postgres_url.replace("janua@", "janua:hidden@")
    async with server_process("--listen", "127.0.0.1:0", "--store", url) as server:
        assert server.ready["store"] == postgres_url.replace("janua@", "")


async def test_the_driver_is_not_loaded_for_sqlite(tmp_path: Path) -> None:
    async with server_process("--listen", "127.0.0.1:0", "--store", f"sqlite:///{tmp_path}/config.db") as server:
        maps = await asyncio.to_thread(Path(f"/proc/{server.process.pid}/maps").read_text)
    assert "asyncpg" not in maps
