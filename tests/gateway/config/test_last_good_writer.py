"""How often, and what, the copy on disk is written."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from gateway.config.last_good import LastGood, LastGoodStore
from gateway.config.last_good_writer import INTERVAL_S, RETRY_S, LastGoodWriter
from tests.gateway.config.recording_sink import Pauses


def _state(revision: int) -> LastGood:
    return LastGood("epoch", revision, ())


@asynccontextmanager
async def running(writer: LastGoodWriter) -> AsyncIterator[None]:
    task = asyncio.create_task(writer.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def test_writes_at_most_once_an_interval_and_the_latest(tmp_path: Path) -> None:
    store = LastGoodStore(tmp_path)
    pauses = Pauses(is_held=True)
    writer = LastGoodWriter(store, sleep=pauses)
    async with running(writer):
        writer.submit(_state(1))
        assert await pauses.begun() == INTERVAL_S
        assert store.load() == _state(1)
        writer.submit(_state(2))
        writer.submit(_state(3))
        await asyncio.to_thread(lambda: None)
        assert store.load() == _state(1)
        pauses.let_go()
        await pauses.begun()
        assert store.load() == _state(3)
    assert pauses.lengths_s == [INTERVAL_S, INTERVAL_S]


async def test_nothing_submitted_nothing_written(tmp_path: Path) -> None:
    writer = LastGoodWriter(LastGoodStore(tmp_path), sleep=Pauses())
    async with running(writer):
        await asyncio.to_thread(lambda: None)
    assert os.listdir(tmp_path) == []


async def test_what_is_left_is_written_in_the_end(tmp_path: Path) -> None:
    store = LastGoodStore(tmp_path)
    pauses = Pauses(is_held=True)
    writer = LastGoodWriter(store, sleep=pauses)
    async with running(writer):
        writer.submit(_state(1))
        await pauses.begun()
        writer.submit(_state(2))
    assert store.load() == _state(2)


async def test_cancelled_before_it_began_it_still_writes(tmp_path: Path) -> None:
    store = LastGoodStore(tmp_path)
    writer = LastGoodWriter(store)
    async with running(writer):
        await asyncio.sleep(0)
        writer.submit(_state(1))
    assert store.load() == _state(1)


async def test_a_failing_disk_is_tried_again_and_its_failure_logged_once(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.write_bytes(b"a file where the directory should be")
    store = LastGoodStore(directory)
    pauses = Pauses(is_held=True)
    writer = LastGoodWriter(store, sleep=pauses)
    with structlog.testing.capture_logs() as log:
        async with running(writer):
            writer.submit(_state(1))
            assert await pauses.begun() == RETRY_S
            pauses.let_go()
            assert await pauses.begun() == RETRY_S
            assert writer.failures == 2
            directory.unlink()
            pauses.let_go()
            assert await pauses.begun() == INTERVAL_S
    (entry,) = log
    assert entry["log_level"] == "warning"
    assert store.load() == _state(1)
