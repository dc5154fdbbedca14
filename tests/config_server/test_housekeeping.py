"""What is written down from time to time, by a clock that the test turns."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from config_server.housekeeping import Housekeeping
from config_server.node_record import NodeIdentity
from config_server.nodes import NodeRegistry
from config_server.resources import Operation, StoredChange
from config_server.revision_signal import RevisionSignal
from config_server.store.base import AnsweredRequest, Commit
from config_server.store.sqlite import SqliteStore, open_sqlite
from tests.config_server.stored import NOW, stored
from tests.config_server.worlds import upstream


class Rounds:
    """Housekeeping that goes one round each time the test says so."""

    def __init__(self, store: SqliteStore) -> None:
        self.now = NOW
        self.store = store
        self.nodes = NodeRegistry([], clock=lambda: self.now)
        self.signal = RevisionSignal(0)
        self._slept = asyncio.Event()
        self._go = asyncio.Event()
        self.housekeeping = Housekeeping(
            store=store,
            nodes=self.nodes,
            signal=self.signal,
            kept_revisions=2,
            clock=lambda: self.now,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        assert seconds == 1
        self._slept.set()
        await self._go.wait()
        self._go.clear()

    async def first(self) -> None:
        await self._slept.wait()
        self._slept.clear()

    async def next(self, after: timedelta = timedelta(seconds=1)) -> None:
        self.now += after
        self._go.set()
        await self.first()


@pytest.fixture
async def rounds(tmp_path: Path) -> AsyncIterator[Rounds]:
    async with open_sqlite(f"sqlite:///{tmp_path / 'config.db'}") as store:
        made = Rounds(store)
        task = asyncio.create_task(made.housekeeping.run())
        await made.first()
        yield made
        task.cancel()
        await asyncio.wait([task])


async def test_nodes_are_written_once_a_second(rounds: Rounds) -> None:
    with rounds.nodes.connected(NodeIdentity(node_id="n", cluster="", version="")):
        assert await rounds.store.load_nodes() == ()
        await rounds.next()
        assert [row.node_id for row in await rounds.store.load_nodes()] == ["n"]


async def test_a_store_that_fails_does_not_end_it(rounds: Rounds) -> None:
    rounds.store._writer.execute("PRAGMA query_only = 1")
    with rounds.nodes.connected(NodeIdentity(node_id="n", cluster="", version="")):
        await rounds.next()
        with pytest.raises(sqlite3.OperationalError):
            rounds.store._writer.execute("DELETE FROM nodes")
        rounds.store._writer.execute("PRAGMA query_only = 0")
        assert await rounds.store.load_nodes() == ()
        # Nothing else may ever change the node's record: it is written all the same.
        await rounds.next()
        assert [row.node_id for row in await rounds.store.load_nodes()] == ["n"]


async def test_old_request_ids_are_dropped_every_hour(rounds: Rounds) -> None:
    await rounds.store.save_request(AnsweredRequest(request_id="id", digest=b"", response=b"", time=NOW))
    await rounds.next(timedelta(hours=24))
    assert await rounds.store.find_request("id", not_before=NOW) is not None
    await rounds.next(timedelta(minutes=59))
    assert await rounds.store.find_request("id", not_before=NOW) is not None
    await rounds.next(timedelta(minutes=1))
    assert await rounds.store.find_request("id", not_before=NOW) is None


async def test_revisions_that_are_not_kept_are_compacted_each_hour(rounds: Rounds) -> None:
    for number in range(5):
        change = StoredChange(operation=Operation.ADDED, entry=stored(upstream(f"u{number}"), revision=number + 1))
        await rounds.store.commit(Commit(base_revision=number, changes=[change], author="", time=NOW))
    rounds.signal.announce(5)
    await rounds.next()
    assert await rounds.store.horizon() == 0
    await rounds.next(after=timedelta(hours=1))
    assert await rounds.store.horizon() == 3


async def test_a_clock_that_goes_back_holds_no_cleaning_up(rounds: Rounds) -> None:
    await rounds.next(timedelta(days=-365))
    await rounds.store.save_request(AnsweredRequest(request_id="id", digest=b"", response=b"", time=rounds.now))
    assert await rounds.store.find_request("id", not_before=rounds.now) is not None
    await rounds.next(timedelta(hours=25))
    assert await rounds.store.find_request("id", not_before=NOW - timedelta(days=366)) is None


async def test_a_node_that_was_seen_in_the_future_is_there_when_the_clock_is_right_again(rounds: Rounds) -> None:
    rounds.now += timedelta(days=365)
    with rounds.nodes.connected(NodeIdentity(node_id="n", cluster="", version="")):
        await rounds.next(timedelta(days=-365))
        rounds.nodes.heard("n")
        await rounds.next()
    await rounds.next()
    assert [record.last_seen_time - NOW for record in rounds.nodes.records()] == [timedelta(0)]
