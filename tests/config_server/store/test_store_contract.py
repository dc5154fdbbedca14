"""What every store must do."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from config_server.resources import Key, Operation, StoredChange, StoredEntry
from config_server.store.base import (
    AnsweredRequest,
    Commit,
    NodeRow,
    RevisionCompactedError,
    RevisionConflictError,
    Store,
    StoreUnavailableError,
)
from config_server.store.open import open_store
from config_server.store.sqlite import open_sqlite
from tests.config_server.stored import NOW, stored
from tests.config_server.worlds import route, service, upstream
from tests.support.postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.component("postgres"))])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a new store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'config.db'}"
    server: PostgresServer = request.getfixturevalue("shared_postgres")
    return await server.new_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with open_store(url, replica_id="a") as opened:
        yield opened


def added(entry: StoredEntry) -> StoredChange:
    return StoredChange(operation=Operation.ADDED, entry=entry)


def commit(
    base_revision: int, *changes: StoredChange, request: AnsweredRequest | None = None, message: str = ""
) -> Commit:
    return Commit(
        base_revision=base_revision, changes=changes, author="alice", message=message, time=NOW, request=request
    )


def answered(request_id: str = "id", response: bytes = b"answer") -> AnsweredRequest:
    return AnsweredRequest(request_id=request_id, digest=b"digest", response=response, time=NOW)


async def test_a_new_store_is_empty_and_has_an_epoch(store: Store, tmp_path: Path) -> None:
    world = await store.load()
    assert (world.revision, dict(world.entries)) == (0, {})
    async with open_sqlite(f"sqlite:///{tmp_path / 'other.db'}") as other:
        assert (await other.load()).epoch != world.epoch


async def test_what_is_committed_is_there_after_opening_again(url: str) -> None:
    entry = stored(upstream("u"), set_name="files", author="bob")
    async with open_store(url, replica_id="a") as store:
        await store.commit(commit(0, added(entry)))
        epoch = (await store.load()).epoch
    async with open_store(url, replica_id="a") as store:
        world = await store.load()
    assert (world.epoch, world.revision) == (epoch, 1)
    assert world.entries == {entry.key: entry}


async def test_changes_replace_and_delete(store: Store) -> None:
    u, s, r = stored(upstream("u")), stored(service("s")), stored(route("r"))
    await store.commit(commit(0, added(u), added(s), added(r)))
    changed = stored(upstream("u", description="changed"), revision=2)
    await store.commit(
        commit(
            1,
            StoredChange(operation=Operation.MODIFIED, entry=changed),
            StoredChange(operation=Operation.DELETED, entry=r),
        )
    )
    world = await store.load()
    assert world.revision == 2
    assert world.entries == {changed.key: changed, s.key: s}


async def test_the_changes_of_a_revision_are_read_in_order(store: Store) -> None:
    first = [added(stored(upstream(name))) for name in ("c", "a", "b")]
    await store.commit(commit(0, *first))
    gone = StoredChange(operation=Operation.DELETED, entry=first[0].entry)
    await store.commit(commit(1, gone))
    assert await store.changes_of(1) == tuple(first)
    assert await store.changes_of(2) == (gone,)
    assert await store.changes_of(3) == ()


def modified(entry: StoredEntry) -> StoredChange:
    return StoredChange(operation=Operation.MODIFIED, entry=entry)


def deleted(entry: StoredEntry) -> StoredChange:
    return StoredChange(operation=Operation.DELETED, entry=entry)


async def _history(store: Store) -> list[dict[Key, StoredEntry]]:
    """Makes six revisions of three resources. What is there at each, from 0 on."""
    u = stored(upstream("u"))
    u2 = stored(upstream("u", description="changed"), revision=2)
    s, r = stored(service("s"), revision=2), stored(route("r"), revision=4)
    u6 = stored(upstream("u", description="again"), revision=6)
    batches = [[added(u)], [modified(u2), added(s)], [deleted(s)], [added(r)], [deleted(u2)], [added(u6)]]
    worlds: list[dict[Key, StoredEntry]] = [{}]
    for base, changes in enumerate(batches):
        await store.commit(commit(base, *changes, message=f"step {base + 1}"))
        worlds.append(dict((await store.load()).entries))
    return worlds


async def test_the_state_at_every_revision_can_be_read(store: Store) -> None:
    for revision, world in enumerate(await _history(store)):
        assert await store.entries_at(revision) == world


async def test_who_made_a_revision_and_why_is_read_newest_first(store: Store) -> None:
    await _history(store)
    found = await store.revisions(limit=2)
    assert [(each.revision, each.author, each.message, each.time) for each in found] == [
        (6, "alice", "step 6", NOW),
        (5, "alice", "step 5", NOW),
    ]
    assert [each.revision for each in await store.revisions(before=3, limit=10)] == [2, 1]


@pytest.mark.parametrize("horizon", range(1, 7))
async def test_compaction_keeps_all_that_was_at_the_horizon_and_after(store: Store, horizon: int) -> None:
    worlds = await _history(store)
    changes = [await store.changes_of(revision) for revision in range(7)]
    await store.compact(horizon)
    assert (await store.load()).horizon == horizon
    for revision, world in enumerate(worlds):
        if revision < horizon:
            with pytest.raises(RevisionCompactedError) as raised:
                await store.entries_at(revision)
            assert raised.value.oldest == horizon
        else:
            assert await store.entries_at(revision) == world
        if 0 < revision <= horizon:
            with pytest.raises(RevisionCompactedError) as raised:
                await store.changes_of(revision)
            assert raised.value.oldest == horizon + 1
        else:
            assert await store.changes_of(revision) == changes[revision]
    assert len(await store.revisions(limit=10)) == 6, "who made them is kept"
    await store.compact(horizon - 1)
    assert (await store.load()).horizon == horizon


async def test_compaction_forgets(tmp_path: Path) -> None:
    async with open_sqlite(f"sqlite:///{tmp_path / 'config.db'}") as store:
        await _history(store)
        await store.compact(5)
        rows = store._writer.execute("SELECT at_revision FROM changes ORDER BY at_revision").fetchall()
    assert rows == [(4,), (6,)]


async def test_a_commit_on_an_old_revision_changes_nothing(store: Store) -> None:
    await store.commit(commit(0, added(stored(upstream("u")))))
    for base in (0, 2):
        with pytest.raises(RevisionConflictError):
            await store.commit(commit(base, added(stored(upstream("v"))), request=answered()))
    world = await store.load()
    assert (world.revision, len(world.entries)) == (1, 1)
    assert await store.find_request("id", not_before=NOW) is None


async def test_a_commit_that_fails_half_way_changes_nothing(store: Store) -> None:
    twice = added(stored(upstream("u")))
    broken = replace(twice, entry=replace(twice.entry, body=cast("bytes", None)))  # the column takes no NULL
    with pytest.raises(StoreUnavailableError):
        await store.commit(commit(0, twice, broken))
    world = await store.load()
    assert (world.revision, dict(world.entries)) == (0, {})
    assert await store.changes_of(1) == ()
    await store.commit(commit(0, twice))


async def test_of_many_writers_one_makes_each_revision(store: Store) -> None:
    async def write(name: str) -> int:
        """Tries until its commit is the next one."""
        conflicts = 0
        while True:
            base = (await store.load()).revision
            try:
                await store.commit(commit(base, added(stored(upstream(name), revision=base + 1))))
            except RevisionConflictError:
                conflicts += 1
            else:
                return conflicts

    conflicts = await asyncio.gather(*(write(f"u{number}") for number in range(40)))
    world = await store.load()
    assert (world.revision, len(world.entries)) == (40, 40)
    assert sum(conflicts) > 0
    for revision in range(1, 41):
        assert len(await store.changes_of(revision)) == 1


async def test_an_answer_is_kept_with_its_commit(store: Store) -> None:
    await store.commit(commit(0, added(stored(upstream("u"))), request=answered()))
    assert await store.find_request("id", not_before=NOW) == answered()
    assert await store.find_request("other", not_before=NOW) is None


async def test_an_answer_of_no_revision_is_kept_too(store: Store) -> None:
    await store.save_request(answered())
    assert await store.find_request("id", not_before=NOW) == answered()
    assert (await store.load()).revision == 0


async def test_old_answers_are_not_found_and_are_dropped(store: Store) -> None:
    await store.save_request(answered())
    assert await store.find_request("id", not_before=NOW + timedelta(seconds=1)) is None
    await store.forget_requests(before=NOW)
    assert await store.find_request("id", not_before=NOW) is not None
    await store.forget_requests(before=NOW + timedelta(seconds=1))
    assert await store.find_request("id", not_before=NOW) is None


async def test_nodes_are_saved_replaced_and_dropped(store: Store) -> None:
    await store.save_nodes([NodeRow(node_id="b", record=b"1"), NodeRow(node_id="a", record=b"1")], [])
    await store.save_nodes([NodeRow(node_id="b", record=b"2")], ["a"])
    assert await store.load_nodes() == (NodeRow(node_id="b", record=b"2"),)


async def test_what_people_write_is_kept(store: Store) -> None:
    """All but NUL, which not every store can hold."""
    text = "ä\n\t\u2028 😀 \\ ' \" %s $1"
    await store.commit(replace(commit(0, added(stored(upstream("u"), author=text)), message=f"{text}\0"), author=text))
    (record,) = await store.revisions(limit=1)
    assert record.author == text
    assert record.message.rstrip("\0") == text
    ((_, entry),) = (await store.load()).entries.items()
    assert entry.author == text


async def test_names_are_told_apart_byte_by_byte(store: Store) -> None:
    names = ["a", "a-b", "a.b", "ab", "b", "a0"]
    await store.commit(commit(0, *(added(stored(upstream(name))) for name in names)))
    assert sorted(key.name for key in (await store.load()).entries) == sorted(names)


async def test_a_large_commit_is_whole(store: Store) -> None:
    changes = [added(stored(upstream(f"u{number}", description="x" * 1000))) for number in range(3000)]
    await store.commit(commit(0, *changes))
    assert len((await store.load()).entries) == 3000
    assert await store.changes_of(1) == tuple(changes)
    assert len(await store.entries_at(1)) == 3000


async def test_a_read_does_not_wait_for_a_write(tmp_path: Path) -> None:
    async with open_sqlite(f"sqlite:///{tmp_path / 'config.db'}") as store:
        await store.commit(commit(0, added(stored(upstream("u")))))
        other = sqlite3.connect(tmp_path / "config.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            async with asyncio.timeout(2):
                assert (await store.load()).revision == 1
        finally:
            other.close()
