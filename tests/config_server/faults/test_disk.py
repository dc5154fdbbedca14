"""Disks that are full or fail: writes are refused as long as it lasts, nothing is lost, and all is told in one line."""

import asyncio
import resource
from pathlib import Path

import pytest
from grpc import aio
from janua.config.v1.config_service_pb2 import ListResourcesRequest
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub

from tests.config_server.faults.fleet import Server, servers
from tests.config_server.faults.workload import Workload, eventually_more, working
from tests.config_server.server_process import failure, server_process
from tests.config_server.worlds import batch, upstream
from tests.support.polling import eventually
from tests.support.small_disk import SmallDisk

_ROUNDS = 3
_LISTEN = ("--listen", "127.0.0.1:0", "--store")


async def has_refused(workload: Workload) -> None:
    """Waits until no write comes through any more."""
    acknowledged = -1

    async def stands_still() -> bool:
        nonlocal acknowledged
        before, acknowledged = acknowledged, workload.acknowledged
        await asyncio.sleep(0.3)
        return before == acknowledged

    await eventually(stands_still)


async def eventually_read(workload: Workload) -> None:
    """Waits until more has been read."""
    reads = len(workload.history.reads)

    async def more() -> bool:
        return len(workload.history.reads) > reads

    await eventually(more)


async def test_a_disk_that_is_full_under_load(small_disk: SmallDisk) -> None:
    async with servers(f"sqlite:///{small_disk.path / 'config.db'}", 1) as fleet, working(fleet[0].address) as workload:
        for number in range(_ROUNDS):
            small_disk.fill()
            await has_refused(workload)
            if number == 1:
                # What is there is served, although nothing can be written.
                await fleet[0].kill()
                await fleet[0].start()
                await eventually_read(workload)
            small_disk.free()
            await eventually_more(workload, workload.acknowledged, lambda: fleet[0].is_alive)
    assert any(write.reason == "STORE_UNAVAILABLE" for write in workload.history.writes)


def limit_files(server: Server, size: int) -> None:
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.soak
async def test_files_that_may_not_grow_under_load(tmp_path: Path) -> None:
    """As a quota has it, and in the middle of a write: the store cannot know how much of it was done."""
    path = tmp_path / "config.db"
    async with servers(f"sqlite:///{path}", 1) as fleet, working(fleet[0].address) as workload:
        for number in range(_ROUNDS):
            limit_files(fleet[0], path.with_name("config.db-wal").stat().st_size + number * 1000)
            await has_refused(workload)
            if number == 1:
                await fleet[0].kill()
                await fleet[0].start()
            else:
                limit_files(fleet[0], resource.RLIM_INFINITY)
            await eventually_more(workload, workload.acknowledged, lambda: fleet[0].is_alive)


async def test_a_server_that_starts_on_a_full_disk_is_not_told_to_throw_its_store_away(small_disk: SmallDisk) -> None:
    store = f"sqlite:///{small_disk.path / 'config.db'}"
    async with server_process(*_LISTEN, store) as server, aio.insecure_channel(server.address) as channel:
        await ConfigServiceStub(channel).Apply(batch(upstream("u")))
        server.terminate()
        await server.process.wait()
    small_disk.fill()
    ended = await failure(*_LISTEN, store)
    assert (ended.code, ended.error.count("\n")) == (1, 1), ended
    assert "see that its disk has room" in ended.error
    assert "damaged" not in ended.error
    small_disk.free()
    async with server_process(*_LISTEN, store) as server, aio.insecure_channel(server.address) as channel:
        assert (await ConfigServiceStub(channel).ListResources(ListResourcesRequest())).revision == 1


async def test_a_disk_that_cannot_be_written(small_disk: SmallDisk) -> None:
    small_disk.make_read_only()
    ended = await failure(*_LISTEN, f"sqlite:///{small_disk.path / 'config.db'}")
    assert (ended.code, ended.error.count("\n")) == (1, 1), ended
    assert "read-only file system" in ended.error


async def test_a_store_that_cannot_be_written_any_more(small_disk: SmallDisk) -> None:
    store = f"sqlite:///{small_disk.path / 'config.db'}"
    async with server_process(*_LISTEN, store) as server, aio.insecure_channel(server.address) as channel:
        await ConfigServiceStub(channel).Apply(batch(upstream("u")))
        server.terminate()
        await server.process.wait()
    small_disk.make_read_only()
    ended = await failure(*_LISTEN, store)
    assert (ended.code, ended.error.count("\n")) == (1, 1), ended
    assert "damaged" not in ended.error
    assert "read-only" in ended.error or "readonly" in ended.error
