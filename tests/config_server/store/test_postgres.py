"""A database that cannot be used is told in one line, without its password; what other servers write is heard of."""

import asyncio
from contextlib import aclosing

import asyncpg
import pytest

from config_server.resources import Operation, StoredChange
from config_server.store.base import Commit, NodeRow, OutcomeUnknownError, Position, StoreError, StoreUnavailableError
from config_server.store.open import open_store, redacted_store
from config_server.store.postgres import open_postgres
from config_server.store.postgres_schema import SCHEMA_VERSION
from tests.config_server.stored import NOW, stored
from tests.config_server.worlds import upstream
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.component("postgres")


async def fail_to_open(url: str) -> str:
    """The error's text, which is one line."""
    with pytest.raises(StoreError) as error:
        async with open_postgres(url, replica_id="a"):
            pass
    assert "\n" not in str(error.value)
    return str(error.value)


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def commit(base: int) -> Commit:
    entry = stored(upstream(f"u{base}"), revision=base + 1)
    change = StoredChange(operation=Operation.ADDED, entry=entry)
    return Commit(base_revision=base, changes=[change], author="", time=NOW)


async def test_a_database_that_does_not_exist(shared_postgres: PostgresServer) -> None:
    text = await fail_to_open(shared_postgres.url("nowhere"))
    assert text.endswith("/nowhere does not exist: make it with `createdb`, or give --store another database")


async def test_a_server_that_is_not_there() -> None:
    text = await fail_to_open("postgresql://user:hidden@127.0.0.1:1/db")
    assert text.startswith("cannot reach postgresql://127.0.0.1:1/db: ")
    assert "hidden" not in text


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1:x/db", "postgresql://u:hidden@127.0.0.1/db?sslmode=odd"])
async def test_an_address_that_is_none(url: str) -> None:
    text = await fail_to_open(url)
    assert "hidden" not in text


async def test_a_user_without_rights(postgres_url: str) -> None:
    await execute(postgres_url, "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
    text = await fail_to_open(postgres_url.replace("janua@", "guest@"))
    assert "grant CREATE on the database" in text


async def test_a_database_that_is_read_only(postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    await execute(postgres_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "is read-only, perhaps a standby" in await fail_to_open(postgres_url)


async def test_a_schema_of_another_program(postgres_url: str) -> None:
    await execute(postgres_url, "CREATE SCHEMA janua", "CREATE TABLE janua.things (x integer)")
    assert "is not this program's" in await fail_to_open(postgres_url)


async def test_a_schema_of_a_newer_version(postgres_url: str) -> None:
    async with open_postgres(postgres_url, replica_id="a"):
        pass
    await execute(postgres_url, f"UPDATE janua.meta SET schema_version = {SCHEMA_VERSION + 1}")
    assert "newer version of Janua" in await fail_to_open(postgres_url)


async def test_content_that_changed_under_its_digest(postgres_url: str) -> None:
    async with open_postgres(postgres_url, replica_id="a") as store:
        await store.commit(commit(0))
        await execute(postgres_url, "UPDATE janua.resources SET body = 'x'")
        with pytest.raises(StoreError, match="'u0'"):
            await store.load()


async def test_servers_that_start_at_once_make_one_schema(postgres_url: str) -> None:
    async def start(replica: str) -> str:
        async with open_postgres(postgres_url, replica_id=replica) as store:
            return (await store.load()).epoch

    epochs = await asyncio.gather(*(start(f"r{number}") for number in range(5)))
    assert len(set(epochs)) == 1


def test_a_password_is_not_shown() -> None:
    assert redacted_store("postgresql://u:hidden@h:5432/db?sslmode=require") == "postgresql://h:5432/db"
    assert redacted_store("sqlite:///a.db") == "sqlite:///a.db"


async def test_what_another_server_commits_is_heard_at_once(postgres_url: str) -> None:
    async with open_store(postgres_url, replica_id="a") as a, open_store(postgres_url, replica_id="b") as b:
        assert b.peers is not None
        async with aclosing(b.peers.positions()) as positions:  # type: ignore[type-var]  # it is a generator
            first = await anext(positions)
            assert first == await b.peers.position()
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await a.commit(commit(0))
            while (heard := await anext(positions)).revision == 0:
                pass
            assert heard == Position(first.epoch, 1)
            # Well before the poll, which comes after a second.
            assert loop.time() - begun < 0.8


async def test_a_lost_connection_is_made_again(own_postgres: PostgresServer) -> None:
    url = await own_postgres.new_database()
    async with open_store(url, replica_id="a") as store:
        assert store.peers is not None
        async with aclosing(store.peers.positions()) as positions:  # type: ignore[type-var]
            await anext(positions)
            await store.commit(commit(0))
            await asyncio.to_thread(own_postgres.kill)
            with pytest.raises(StoreUnavailableError):
                await store.commit(commit(1))
            with pytest.raises(StoreUnavailableError):
                await store.load()
            await asyncio.to_thread(own_postgres.start)
            while (await anext(positions)).revision != 1:
                pass
            await store.commit(commit(1))
            while (await anext(positions)).revision != 2:
                pass


async def test_a_connection_lost_within_a_commit_leaves_the_outcome_open(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(self: object) -> None:
        del self
        raise asyncpg.ConnectionDoesNotExistError("the connection was closed in the middle of the operation")

    async with open_postgres(postgres_url, replica_id="a") as store:
        monkeypatch.setattr("asyncpg.transaction.Transaction.commit", lose)
        with pytest.raises(OutcomeUnknownError):
            await store.commit(commit(0))


async def test_a_server_that_is_stopped_within_a_transaction_does_not_keep_the_others(postgres_url: str) -> None:
    async with open_postgres(postgres_url, replica_id="a") as store:
        timeout = await store._pool.fetchval("SHOW idle_in_transaction_session_timeout")
        assert timeout == "10s"


async def test_nodes_of_other_servers_are_seen_and_gone_with_them(postgres_url: str) -> None:
    async with open_postgres(postgres_url, replica_id="a") as a, open_postgres(postgres_url, replica_id="b") as b:
        await a.save_nodes([NodeRow(node_id="n", record=b"1")], [])
        await a.peers.say_alive()
        nodes, alive = await b.peers.nodes()
        assert [(node.replica, node.node_id, node.record) for node in nodes] == [("a", "n", b"1")]
        assert alive == {"a"}
        assert await b.load_nodes() == ()
        await execute(postgres_url, "UPDATE janua.replicas SET heard = now() - interval '1 minute'")
        assert (await b.peers.nodes())[1] == frozenset()
        await a.peers.say_alive()
        await a.peers.say_gone()
        assert (await b.peers.nodes())[1] == frozenset()
