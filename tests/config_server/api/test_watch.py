"""WatchResources: a list, a bookmark, then every revision once and in order."""

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc import aio
from janua.config.v1.config_service_pb2 import (
    ListNodesRequest,
    ResourceEvent,
    WatchResourcesRequest,
    WatchResourcesResponse,
)
from janua.config.v1.resource_pb2 import KIND_ROUTE, KIND_SERVICE, KIND_UNSPECIFIED, Kind, StoredResource
from janua_resources.kinds import unwrap

from tests.config_server.api.refusals import refused
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.worlds import batch, consumer, delete, route, service, upstream

ADDED, MODIFIED = ResourceEvent.TYPE_ADDED, ResourceEvent.TYPE_MODIFIED
DELETED, BOOKMARK = ResourceEvent.TYPE_DELETED, ResourceEvent.TYPE_BOOKMARK

if TYPE_CHECKING:
    Watch = aio.UnaryStreamCall[WatchResourcesRequest, WatchResourcesResponse]


def watch(server: RunningServer, request: WatchResourcesRequest | None = None) -> "Watch":
    return server.config.WatchResources(request or WatchResourcesRequest())


async def read(call: "Watch") -> WatchResourcesResponse:
    async with asyncio.timeout(10):
        response = await call.read()
    assert isinstance(response, WatchResourcesResponse)
    return response


def events(response: WatchResourcesResponse) -> list[tuple[ResourceEvent.Type.ValueType, str]]:
    return [
        (event.type, unwrap(event.resource.resource).name if event.HasField("resource") else "")
        for event in response.events
    ]


class World:
    """What a client has that follows a watch."""

    def __init__(self) -> None:
        self.resources: dict[tuple[str, str], StoredResource] = {}
        self.revisions: list[int] = []

    def take(self, response: WatchResourcesResponse) -> None:
        for event in response.events:
            if event.type == BOOKMARK:
                continue
            stored = event.resource
            key = (stored.resource.WhichOneof("kind") or "", unwrap(stored.resource).name)
            assert (key in self.resources) == (event.type != ADDED)
            if event.type == DELETED:
                assert self.resources.pop(key) == stored
            else:
                self.resources[key] = stored
        if response.revision:
            self.revisions.append(response.revision)


async def test_first_everything_then_a_bookmark(filled: RunningServer) -> None:
    call = watch(filled)
    first, bookmark = await read(call), await read(call)
    assert events(first) == [(ADDED, "s"), (ADDED, "u"), (ADDED, "a"), (ADDED, "b")]
    assert first.revision == 0
    assert events(bookmark) == [(BOOKMARK, "")]
    assert bookmark.revision == 1
    call.cancel()


async def test_an_empty_store_begins_with_the_bookmark(server: RunningServer) -> None:
    call = watch(server)
    bookmark = await read(call)
    assert (events(bookmark), bookmark.revision) == ([(BOOKMARK, "")], 0)
    await server.apply(upstream("u"))
    assert events(await read(call)) == [(ADDED, "u")]
    call.cancel()


async def test_then_each_apply_in_one_response(filled: RunningServer) -> None:
    call = watch(filled)
    await read(call)
    await read(call)
    await filled.apply(route("a", description="changed"), delete("route", "b"), route("c"), service("s"))
    response = await read(call)
    assert response.revision == 2
    assert sorted(events(response)) == [(ADDED, "c"), (MODIFIED, "a"), (DELETED, "b")]
    deleted = next(event.resource for event in response.events if event.type == DELETED)
    assert unwrap(deleted.resource) == route("b")
    assert deleted.revision == 1
    call.cancel()


async def test_a_large_apply_is_one_response(filled: RunningServer) -> None:
    call = watch(filled, WatchResourcesRequest(after_revision=1))
    await filled.apply(*(consumer(f"c{number}") for number in range(2000)))
    assert len((await read(call)).events) == 2000
    call.cancel()


async def test_a_large_first_list_comes_in_pages(filled: RunningServer) -> None:
    await filled.apply(*(consumer(f"c{number}") for number in range(1200)))
    call = watch(filled)
    pages = [await read(call) for _ in range(3)]
    assert [len(page.events) for page in pages] == [500, 500, 204]
    assert {page.revision for page in pages} == {0}
    assert (await read(call)).revision == 2
    call.cancel()


async def test_one_kind_only(filled: RunningServer) -> None:
    call = watch(filled, WatchResourcesRequest(kind=KIND_SERVICE))
    assert events(await read(call)) == [(ADDED, "s")]
    assert events(await read(call)) == [(BOOKMARK, "")]
    await filled.apply(route("a", description="changed"))
    await filled.apply(route("b", description="changed"), service("t"))
    response = await read(call)
    assert (events(response), response.revision) == ([(ADDED, "t")], 3)
    call.cancel()


async def test_it_resumes_after_a_revision(filled: RunningServer) -> None:
    for number in range(5):
        await filled.apply(route("a", description=str(number)))
    call = watch(filled, WatchResourcesRequest(after_revision=3))
    assert [(await read(call)).revision for _ in range(3)] == [4, 5, 6]
    await filled.apply(route("a"))
    assert (await read(call)).revision == 7
    call.cancel()


async def test_it_resumes_from_the_very_beginning(filled: RunningServer) -> None:
    call = watch(filled, WatchResourcesRequest(after_revision=0))
    assert len((await read(call)).events) == 4
    call.cancel()


async def test_it_resumes_after_a_restart_of_the_server(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with running_server(path) as server:
        await server.apply(upstream("u"))
        await server.apply(upstream("v"))
    async with running_server(path) as server:
        call = watch(server, WatchResourcesRequest(after_revision=1))
        assert events(await read(call)) == [(ADDED, "v")]
        call.cancel()


async def test_a_store_that_was_put_back_is_not_taken_for_the_same(tmp_path: Path) -> None:
    """Its revisions have the numbers of those that were lost: to resume after one would leave out changes."""
    path, backup = tmp_path / "config.db", tmp_path / "backup.db"
    async with running_server(path) as server:
        await server.apply(upstream("u"))
    shutil.copy(path, backup)
    async with running_server(path) as server:
        call = watch(server, WatchResourcesRequest(after_revision=0))
        first = await read(call)
        await server.apply(upstream("lost"))
        seen = await read(call)
        call.cancel()
    assert seen.revision == 2
    shutil.copy(backup, path)
    async with running_server(path) as server:
        await server.apply(upstream("other"))
        await server.apply(upstream("v"))
        call = watch(server, WatchResourcesRequest(after_revision=1, after_time=first.revision_time))
        assert events(await read(call)) == [(ADDED, "other")], "that one is as it was"
        call.cancel()
        resumed = WatchResourcesRequest(after_revision=2, after_time=seen.revision_time)
        refusal = await refused(watch(server, resumed).read())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_REPLACED")


async def test_a_revision_that_was_never_made_is_out_of_range(filled: RunningServer) -> None:
    refusal = await refused(watch(filled, WatchResourcesRequest(after_revision=2)).read())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_OUT_OF_RANGE")


async def test_a_negative_revision_is_invalid(filled: RunningServer) -> None:
    refusal = await refused(watch(filled, WatchResourcesRequest(after_revision=-1)).read())
    assert list(refusal.fields) == ["after_revision"]


async def test_there_is_no_gap_and_no_repetition_beside_concurrent_applies(filled: RunningServer) -> None:
    async def write(writer: int) -> None:
        for number in range(25):
            await filled.apply(route(f"w{writer}", description=str(number)))
        await filled.apply(delete("route", f"w{writer}"))

    async def follow(call: "Watch", world: World) -> None:
        while not world.revisions or world.revisions[-1] < 105:
            world.take(await read(call))

    async with asyncio.TaskGroup() as tasks:
        for writer in range(4):
            tasks.create_task(write(writer))
        worlds = []
        for _ in range(5):  # each begins at another moment
            worlds.append(World())
            tasks.create_task(follow(watch(filled), worlds[-1]))
            await filled.config.ListNodes(ListNodesRequest())
    for world in worlds:
        start = world.revisions[0]
        assert world.revisions == list(range(start, 106))
        assert {name for _, name in world.resources} == {"u", "s", "a", "b"}


async def test_a_watcher_that_does_not_read_gets_everything_later(filled: RunningServer) -> None:
    call = watch(filled, WatchResourcesRequest(kind=KIND_ROUTE, after_revision=1))
    for number in range(300):
        await filled.apply(route("a", description=f"{number} " + "x" * 1000))
    assert [(await read(call)).revision for _ in range(300)] == list(range(2, 302))
    call.cancel()


async def test_a_drain_ends_watches(tmp_path: Path) -> None:
    async with running_server(tmp_path / "config.db") as server:
        call = watch(server)
        await read(call)
        server.stop.set()
        refusal = await refused(call.read())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


@pytest.mark.parametrize("kind", [KIND_UNSPECIFIED, KIND_ROUTE])
async def test_an_apply_without_changes_is_no_event(filled: RunningServer, kind: Kind.ValueType) -> None:
    call = watch(filled, WatchResourcesRequest(kind=kind, after_revision=1))
    await filled.apply_request(batch(route("a")))
    await filled.apply(route("b", description="changed"))
    assert events(await read(call)) == [(MODIFIED, "b")]
    call.cancel()
