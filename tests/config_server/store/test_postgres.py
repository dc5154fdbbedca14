"""A database that cannot be used is told in one line, without its password; what other servers write is heard of."""

import asyncio
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta

import asyncpg
import pytest

from config_server.resources import Operation, StoredChange
from config_server.store import postgres_connection
from config_server.store.base import (
    Commit,
    NodeRow,
    OutcomeUnknownError,
    Position,
    RevisionConflictError,
    Store,
    StoreError,
    StoreUnavailableError,
)
from config_server.store.open import open_store, redacted_store
from config_server.store.postgres import open_postgres
from config_server.store.postgres_schema import SCHEMA_VERSION
from tests.config_server.stored import NOW, stored
from tests.config_server.worlds import upstream
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Cut
from tests.support.polling import eventually
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


async def configure(url: str, change: str) -> None:
    """Changes the settings of the database, for connections to come."""
    server, _, name = url.rpartition("/")
    await execute(f"{server}/postgres", f"ALTER DATABASE {name} {change}")


async def takes(store: Store, each: Commit) -> bool:
    """Whether the commit is made."""
    try:
        await store.commit(each)
    except StoreUnavailableError:
        return False
    return True


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


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://127.0.0.1:x/db", "it has the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
        ("postgresql://u:hid/den@127.0.0.1/db", "special characters of the password as %XX"),
        ("postgresql://u:hid?den@127.0.0.1/db", "special characters of the password as %XX"),
        ("postgresql://u:hid#den@127.0.0.1/db", "special characters of the password as %XX"),
        ("postgresql://u:hidden@127.0.0.1/db?sslmode=odd", "sslmode"),
    ],
)
async def test_an_address_that_is_none(url: str, words: str) -> None:
    text = await fail_to_open(url)
    assert words in text
    assert "hid" not in text
    assert "den" not in text.replace("hidden", "")


async def test_a_server_without_tls_that_is_asked_for_it(postgres_url: str) -> None:
    assert "rejected SSL upgrade" in await fail_to_open(f"{postgres_url}?sslmode=require")


async def test_a_user_without_rights(postgres_url: str) -> None:
    await execute(postgres_url, "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
    text = await fail_to_open(postgres_url.replace("janua@", "guest@"))
    assert "grant CREATE on the database" in text
    async with open_postgres(postgres_url, replica_id="a"):
        pass
    assert "or all on its schema `janua`" in await fail_to_open(postgres_url.replace("janua@", "guest@"))


async def test_a_database_that_is_read_only(postgres_url: str) -> None:
    await configure(postgres_url, "SET default_transaction_read_only = on")
    assert "is read-only, perhaps a standby" in await fail_to_open(postgres_url)
    await configure(postgres_url, "RESET default_transaction_read_only")
    async with open_postgres(postgres_url, replica_id="a") as store:
        await configure(postgres_url, "SET default_transaction_read_only = on")
        await store._pools.writing.expire_connections()
        with pytest.raises(StoreUnavailableError, match="it is read-only, perhaps a standby"):
            await store.commit(commit(0))
        await configure(postgres_url, "RESET default_transaction_read_only")
        await eventually(lambda: takes(store, commit(0)))


async def test_a_database_that_is_full(postgres_url: str) -> None:
    async with open_postgres(postgres_url, replica_id="a") as store:
        await store.commit(commit(0))
        await execute(
            postgres_url,
            "CREATE FUNCTION janua.is_full() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
            "CREATE TRIGGER is_full BEFORE INSERT ON janua.changes EXECUTE FUNCTION janua.is_full()",
        )
        with pytest.raises(StoreUnavailableError, match="its disk is full") as full:
            await store.commit(commit(1))
        assert not isinstance(full.value, OutcomeUnknownError), "it is known that nothing was written"
        assert (await store.load()).revision == 1
        await execute(postgres_url, "DROP TRIGGER is_full ON janua.changes")
        await store.commit(commit(1))


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


async def test_of_a_failover_pair_the_one_that_takes_writes_is_used(postgres_url: str) -> None:
    pair = postgres_url.replace("@", "@127.0.0.1:1,") + "?target_session_attrs=read-write"
    async with open_postgres(pair, replica_id="a") as store:
        await store.commit(commit(0))
    await configure(postgres_url, "SET default_transaction_read_only = on")
    text = await fail_to_open(f"{postgres_url}?target_session_attrs=read-write")
    assert text.startswith("none of the servers of postgresql://127.0.0.1:")


async def test_servers_that_start_at_once_make_one_schema(postgres_url: str) -> None:
    async def start(replica: str) -> str:
        async with open_postgres(postgres_url, replica_id=replica) as store:
            return (await store.load()).epoch

    epochs = await asyncio.gather(*(start(f"r{number}") for number in range(5)))
    assert len(set(epochs)) == 1


def test_a_password_is_not_shown() -> None:
    assert redacted_store("postgresql://u:hidden@h:5432/db?sslmode=require") == "postgresql://h:5432/db"
    assert redacted_store("postgresql://u:hidden@h1:5432,[::1]:5433/db") == "postgresql://h1:5432,[::1]:5433/db"
    assert redacted_store("postgresql://h/db?user=u@x&password=hidden") == "postgresql://…"
    assert redacted_store("sqlite:///a.db") == "sqlite:///a.db"


async def test_what_another_server_commits_is_heard_at_once(postgres_url: str) -> None:
    async with open_store(postgres_url, replica_id="a") as a, open_store(postgres_url, replica_id="b") as b:
        assert b.peers is not None
        async with aclosing(b.peers.positions()) as positions:  # type: ignore[type-var]  # it is a generator
            first = await anext(positions)
            assert first == (await b.peers.position(0))[0]
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await a.commit(commit(0))
            while (heard := await anext(positions)).revision == 0:
                pass
            assert heard == Position(first.epoch, 1, NOW)
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


async def test_a_connection_lost_within_a_commit_leaves_the_outcome_open(postgres_url: str) -> None:
    server, _, name = postgres_url.rpartition("/")
    proxy = FaultProxy(server.rpartition("@")[2])
    await proxy.start()
    try:
        async with open_postgres(f"postgresql://janua@{proxy.address}/{name}", replica_id="a") as store:
            await store.commit(commit(0))
            proxy.fault = Cut()
            with pytest.raises(OutcomeUnknownError):
                await store.commit(commit(1))
            proxy.fault = None
            assert (await store.load()).revision == 2, "only the answer was lost"
    finally:
        await proxy.stop()


async def test_a_server_that_is_stopped_within_a_transaction_does_not_keep_the_others(postgres_url: str) -> None:
    async with open_postgres(postgres_url, replica_id="a") as store:
        timeout = await store._pools.writing.fetchval("SHOW idle_in_transaction_session_timeout")
        assert timeout == "10s"


async def test_a_database_set_to_answer_too_early_is_made_to_wait(postgres_url: str) -> None:
    await configure(postgres_url, "SET synchronous_commit = off")
    async with open_postgres(postgres_url, replica_id="a") as store:
        assert await store._pools.writing.fetchval("SHOW synchronous_commit") == "on"


async def test_a_stricter_database_makes_no_failures_of_conflicts(postgres_url: str) -> None:
    await configure(postgres_url, "SET default_transaction_isolation = 'serializable'")
    async with open_postgres(postgres_url, replica_id="a") as a, open_postgres(postgres_url, replica_id="b") as b:
        made = await asyncio.gather(a.commit(commit(0)), b.commit(commit(0)), return_exceptions=True)
    assert [type(each) for each in made if each is not None] == [RevisionConflictError]


async def test_a_revision_made_anew_is_told_from_the_one_of_before(postgres_url: str) -> None:
    async with open_postgres(postgres_url, replica_id="a") as store:
        await store.commit(commit(0))
        position, first = await store.peers.position(1)
        assert (position.revision, position.time, first) == (1, NOW, NOW)
        assert await store.peers.position(2) == (position, None)
        await execute(postgres_url, "UPDATE janua.revisions SET time = time + 1")
        position, first = await store.peers.position(1)
        assert position.time == first == NOW + timedelta(microseconds=1)


async def test_writers_stand_in_line(postgres_url: str) -> None:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_postgres(postgres_url, replica_id="a")) for _ in range(3)]
        order: list[int] = []
        first = await stack.enter_async_context(AsyncExitStack())
        await first.enter_async_context(stores[0].peers.line())

        async def stand(number: int) -> None:
            async with stores[number].peers.line():
                order.append(number)

        async def waiting(count: int) -> bool:
            found = await stores[0]._pools.reading.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            return bool(found == count)

        second = asyncio.create_task(stand(2))
        await eventually(lambda: waiting(1))
        third = asyncio.create_task(stand(1))
        await eventually(lambda: waiting(2))
        assert order == []
        await first.aclose()
        await asyncio.gather(second, third)
    assert order == [2, 1]


async def test_a_server_that_does_not_leave_the_line_is_passed(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_connection._SETTINGS, "lock_timeout", "100ms")
    async with open_postgres(postgres_url, replica_id="a") as a, open_postgres(postgres_url, replica_id="b") as b:
        async with a.peers.line(), b.peers.line():
            await b.commit(commit(0))
        assert (await a.peers.position(0))[0].revision == 1


async def test_a_write_is_not_called_undone_because_the_line_is_lost(own_postgres: PostgresServer) -> None:
    async with open_postgres(await own_postgres.new_database(), replica_id="a") as store, store.peers.line():
        await store.commit(commit(0))
        await asyncio.to_thread(own_postgres.kill)


async def test_nodes_of_other_servers_are_seen_and_gone_with_them(postgres_url: str) -> None:
    # Two of the same name, as on one machine.
    async with open_postgres(postgres_url, replica_id="a") as a, open_postgres(postgres_url, replica_id="a") as b:
        await a.save_nodes([NodeRow(node_id="n", record=b"1")], [])
        await a.peers.say_alive()
        found = await b.peers.nodes(None)
        (node,) = found.nodes
        assert (node.node_id, node.record) == ("n", b"1")
        assert found.alive == {node.replica}
        assert (await b.peers.nodes(found.time)).nodes == found.nodes, "what may have been committed late is told again"
        await execute(postgres_url, "UPDATE janua.nodes SET written = now() - interval '1 minute'")
        assert (await b.peers.nodes(found.time)).nodes == [], "what is older is not"
        assert await b.load_nodes() == ()
        await execute(postgres_url, "UPDATE janua.replicas SET heard = now() - interval '1 minute'")
        assert (await b.peers.nodes(None)).alive == frozenset()
        await a.peers.say_alive()
        await a.peers.say_gone()
        assert (await b.peers.nodes(None)).alive == frozenset()


async def test_a_clock_of_the_database_that_is_put_back_brings_no_server_back(postgres_url: str) -> None:
    async with open_postgres(postgres_url, replica_id="a") as a, open_postgres(postgres_url, replica_id="b") as b:
        await a.save_nodes([NodeRow(node_id="n", record=b"1")], [])
        await a.peers.say_alive()
        # As if it had said so an hour later than now, and the clock had then been put back.
        await execute(postgres_url, "UPDATE janua.replicas SET heard = now() + interval '1 hour'")
        found = await b.peers.nodes(None)
        assert found.alive == frozenset()
        await a.peers.say_alive()
        later = await b.peers.nodes(found.time + timedelta(hours=1))
        assert len(later.alive) == 1, "a server that is there is heard again at once"
        assert later.nodes == found.nodes, "what it has written since then has an earlier time"


async def test_what_servers_wrote_that_are_gone_is_dropped_when_it_is_old_or_others_know_better(
    postgres_url: str,
) -> None:
    for name, number in (("gone", 1), ("there", 2)):
        async with open_postgres(postgres_url, replica_id=name) as store:
            rows = [NodeRow(node_id=f"{name}-{each}", record=b"") for each in ("old", "new")]
            await store.save_nodes([NodeRow(node_id="moved", record=b"%d" % number), *rows], [])
            await store.peers.say_alive()
    old = "now() - interval '8 days'"
    await execute(
        postgres_url,
        f"UPDATE janua.nodes SET written = {old} WHERE node_id LIKE '%old'",
        f"UPDATE janua.replicas SET heard = {old} WHERE replica LIKE 'gone%'",
    )
    async with open_postgres(postgres_url, replica_id="a") as store:
        await store.peers.forget()
        found = await store.peers.nodes(None)
    assert sorted((row.node_id, row.record) for row in found.nodes) == [
        ("gone-new", b""),
        ("moved", b"2"),
        ("there-new", b""),
        ("there-old", b""),
    ]
