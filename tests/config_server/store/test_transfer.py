"""Backup, restore and migration carry all of a store over, between both kinds, and lose nothing on the way."""

# ruff: noqa: ASYNC240 (nothing else runs beside these tests)

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from config_server.resources import Operation, StoredChange
from config_server.store.base import AnsweredRequest, Commit, Store, StoreError
from config_server.store.open import open_store
from config_server.store.sqlite_copy import TABLES
from config_server.store.transfer import backup, migrate, restore
from tests.config_server.stored import NOW, stored
from tests.config_server.worlds import upstream
from tests.support.postgres_server import PostgresServer

KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.component("postgres"))]
NewStore = Callable[[str], Awaitable[str]]


def say(words: str) -> None:
    del words


@pytest.fixture
async def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> NewStore:
    """The address of a store that is not there yet."""
    count = 0

    async def new(kind: str) -> str:
        nonlocal count
        count += 1
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / f'store-{count}.db'}"
        server: PostgresServer = request.getfixturevalue("shared_postgres")
        return await server.new_database()

    return new


async def fill(url: str, revisions: int = 4) -> None:
    """Makes revisions in which something comes, changes and goes."""
    async with open_store(url, replica_id="a") as store:
        before = None
        for base in range(revisions):
            entry = stored(upstream("u", description=f"{base} ä\n"), revision=base + 1)
            made = [StoredChange(operation=Operation.MODIFIED if before else Operation.ADDED, entry=entry)]
            name = f"gone-{base // 2}"
            gone = stored(upstream(name), revision=base + 1 - base % 2)
            made.append(StoredChange(operation=Operation.DELETED if base % 2 else Operation.ADDED, entry=gone))
            request = AnsweredRequest(request_id=f"id-{base}", digest=b"d", response=b"\0answer", time=NOW)
            await store.commit(
                Commit(base_revision=base, changes=made, author="é", message="why", time=NOW, request=request)
            )
            before = entry
        await store.compact(2)


async def all_of(store: Store) -> object:
    world = await store.load()
    newest = world.revision + 1
    return (
        world,
        [await store.entries_at(revision) for revision in range(world.horizon, newest)],
        [await store.changes_of(revision) for revision in range(world.horizon + 1, newest)],
        await store.revisions(limit=100),
        [await store.find_request(f"id-{number}", not_before=NOW) for number in range(5)],
    )


async def content(url: str) -> object:
    async with open_store(url, replica_id="a") as store:
        return await all_of(store)


@pytest.mark.parametrize("target_kind", KINDS)
@pytest.mark.parametrize("source_kind", KINDS)
async def test_all_of_a_store_is_carried_over(
    new_store: NewStore, tmp_path: Path, source_kind: str, target_kind: str
) -> None:
    source, restored, migrated = [await new_store(kind) for kind in (source_kind, target_kind, target_kind)]
    await fill(source)
    before = await content(source)
    file = tmp_path / "backup"
    assert str(await backup(source, file, say)) == "revision 4, 1 resources"
    assert [path.name for path in tmp_path.glob("backup*")] == ["backup"]
    assert file.stat().st_mode & 0o077 == 0
    await restore(file, restored, say, replaces=False)
    await migrate(source, migrated, say, replaces=False)
    assert await content(restored) == await content(migrated) == await content(source) == before


@pytest.mark.parametrize("kind", KINDS)
async def test_what_holds_something_is_replaced_only_if_that_is_said(
    new_store: NewStore, tmp_path: Path, kind: str
) -> None:
    source, target = await new_store("sqlite"), await new_store(kind)
    await fill(source)
    await fill(target, revisions=3)
    before = await content(target)
    file = tmp_path / "backup"
    await backup(source, file, say)
    with pytest.raises(StoreError, match=r"\(revision 3, 2 resources\): .* --replace-existing"):
        await restore(file, target, say, replaces=False)
    with pytest.raises(StoreError, match="--replace-existing"):
        await migrate(source, target, say, replaces=False)
    assert await content(target) == before
    await restore(file, target, say, replaces=True)
    assert await content(target) == await content(source)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_in_use_is_backed_up_and_not_migrated(new_store: NewStore, tmp_path: Path, kind: str) -> None:
    source = await new_store(kind)
    await fill(source)
    async with open_store(source, replica_id="first") as store:
        if store.peers is not None:
            await store.peers.say_alive()
        await backup(source, tmp_path / "backup", say)
        with pytest.raises(StoreError, match=r"in use by another config server|config servers run over .* \(first\)"):
            await migrate(source, await new_store("sqlite"), say, replaces=False)
    restored = await new_store("sqlite")
    await restore(tmp_path / "backup", restored, say, replaces=False)
    assert await content(restored) == await content(source)


async def test_a_store_in_use_is_not_restored_into(new_store: NewStore, tmp_path: Path) -> None:
    url = await new_store("sqlite")
    await fill(url)
    await backup(url, tmp_path / "backup", say)
    async with open_store(url, replica_id="a"):
        with pytest.raises(StoreError, match="is in use by another config server"):
            await restore(tmp_path / "backup", url, say, replaces=True)


async def test_no_file_is_overwritten(new_store: NewStore, tmp_path: Path) -> None:
    url = await new_store("sqlite")
    await fill(url)
    file = tmp_path / "backup"
    file.write_text("mine")
    with pytest.raises(StoreError, match="is there already"):
        await backup(url, file, say)
    assert file.read_text() == "mine"


async def test_what_is_no_whole_backup_is_not_restored(new_store: NewStore, tmp_path: Path) -> None:
    url, target = await new_store("sqlite"), await new_store("sqlite")
    await fill(url)
    file = tmp_path / "backup"
    await backup(url, file, say)
    whole = file.read_bytes()
    connection = sqlite3.connect(file)
    connection.execute("UPDATE changes SET body = x'0a0162' WHERE at_revision = 3 AND ordinal = 0")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=r"the content of resource 'u' of kind . has changed"):
        await restore(file, target, say, replaces=False)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match=r"damaged|cannot be"):
        await restore(file, target, say, replaces=False)
    file.write_text("no database " * 100)
    with pytest.raises(StoreError, match="cannot be copied"):
        await restore(file, target, say, replaces=False)
    with pytest.raises(StoreError, match="there is no store at"):
        await restore(tmp_path / "nowhere", target, say, replaces=False)
    assert not Path(target.removeprefix("sqlite:///")).exists()


async def test_another_programs_file_is_neither_backed_up_nor_replaced(new_store: NewStore, tmp_path: Path) -> None:
    url = await new_store("sqlite")
    await fill(url)
    theirs = tmp_path / "theirs.db"
    with sqlite3.connect(theirs) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = theirs.read_bytes()
    with pytest.raises(StoreError, match="belongs to another program"):
        await backup(f"sqlite:///{theirs}", tmp_path / "backup", say)
    with pytest.raises(StoreError, match="belongs to another program"):
        await migrate(url, f"sqlite:///{theirs}", say, replaces=True)
    assert theirs.read_bytes() == before


async def test_a_store_is_not_migrated_to_itself(new_store: NewStore) -> None:
    url = await new_store("sqlite")
    await fill(url)
    with pytest.raises(StoreError, match="to itself"):
        await migrate(url, url, say, replaces=True)


@pytest.mark.component("postgres")
async def test_a_database_without_a_store_is_left_alone(new_store: NewStore, tmp_path: Path) -> None:
    url = await new_store("postgres")
    with pytest.raises(StoreError, match="there is no store in postgresql://"):
        await backup(url, tmp_path / "backup", say)
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT to_regclass('janua.meta')") is None
    await connection.close()
    assert list(tmp_path.glob("backup*")) == []


async def test_every_column_is_carried_over(new_store: NewStore) -> None:
    url = await new_store("sqlite")
    await fill(url)
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    columns = {name: tuple(row[1] for row in connection.execute(f"PRAGMA table_info({name})")) for name in names}
    connection.close()
    assert {name: set(found) for name, found in columns.items() if name not in ("meta", "nodes")} == {
        name: set(found) for name, found in TABLES.items()
    }
    assert set(columns["meta"]) == {"only_row", "epoch", "revision", "schema_version", "horizon"}
