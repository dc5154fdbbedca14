"""An Apply beside a store that fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config_server.apply import Applier
from config_server.metrics import Metrics
from config_server.nodes import NodeRegistry
from config_server.revision_signal import RevisionSignal
from config_server.snapshot_cache import SnapshotCache
from config_server.store.base import StoreUnavailableError
from config_server.store.sqlite import SqliteStore, open_sqlite
from config_server.writer import Writer
from tests.config_server.worlds import batch, consumer, upstream


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def applier_on(store: SqliteStore) -> AsyncIterator[tuple[Applier, SnapshotCache, RevisionSignal]]:
    world = await store.load()
    cache, signal = SnapshotCache(world), RevisionSignal(world.revision)
    writer = Writer(store=store, cache=cache, signal=signal)
    applier = Applier(
        store=store,
        cache=cache,
        writer=writer,
        nodes=NodeRegistry([], clock=now),
        metrics=Metrics(),
        no_values="",
        clock=now,
    )
    task = asyncio.create_task(writer.run())
    try:
        yield applier, cache, signal
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_full_disk_changes_nothing_and_later_applies_go_through(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'config.db'}"
    async with open_sqlite(url) as store, applier_on(store) as (applier, cache, signal):
        await applier.apply(batch(upstream("u")))
        (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
        store._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
        large = consumer("c")
        large.labels["x"] = "x" * 500_000
        with pytest.raises(StoreUnavailableError):
            await applier.apply(batch(large))
        assert (cache.revision, signal.revision, len(cache.resources)) == (1, 1, 1)
        store._writer.execute("PRAGMA max_page_count = 1000000")
        assert (await applier.apply(batch(large))).revision == 2
        assert (await store.load()).revision == 2


async def test_a_caller_that_leaves_does_not_leave_the_cache_behind(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'config.db'}"
    async with open_sqlite(url) as store, applier_on(store) as (applier, cache, signal):
        first = asyncio.create_task(applier.apply(batch(upstream("u"))))
        await turns()
        waiting = asyncio.create_task(applier.apply(batch(upstream("never"))))
        await turns()
        assert applier._writer._turns.qsize() == 1, "the first is being carried out, the second waits"
        first.cancel()
        waiting.cancel()
        await signal.beyond(0)
        assert [key.name for key in cache.resources] == ["u"]
        assert (await applier.apply(batch(upstream("v")))).revision == 2


async def turns() -> None:
    """Lets the tasks that can run do so."""
    for _ in range(3):
        await asyncio.sleep(0)
