"""Following the configuration: streams break at every place, and still every change comes once, in order."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from janua.config.v1.config_service_pb2 import ResourceEvent, WatchResourcesRequest, WatchResourcesResponse
from janua.config.v1.resource_pb2 import KIND_UPSTREAM, Resource, StoredResource
from janua.config.v1.upstream_pb2 import Upstream
from janua_client.config_client import ConfigClient
from janua_client.errors import JanuaError, OutOfRangeError, UnavailableError
from janua_client.streams import Reconnecting
from janua_client.watch import WatchBatch

from tests.clients.janua_client.scripted_server import serving

Context = grpc.aio.ServicerContext[Any, Any]
Step = WatchResourcesResponse | grpc.StatusCode

ADDED, MODIFIED, DELETED = ResourceEvent.TYPE_ADDED, ResourceEvent.TYPE_MODIFIED, ResourceEvent.TYPE_DELETED


def event(type_: ResourceEvent.Type.ValueType, name: str, etag: str = "1") -> ResourceEvent:
    resource = StoredResource(resource=Resource(upstream=Upstream(name=name)), etag=etag)
    return ResourceEvent(type=type_, resource=resource)


def page(*events: ResourceEvent) -> WatchResourcesResponse:
    return WatchResourcesResponse(events=events)


def revision(number: int, *events: ResourceEvent) -> WatchResourcesResponse:
    return WatchResourcesResponse(events=events, revision=number)


def bookmark(number: int) -> WatchResourcesResponse:
    return revision(number, ResourceEvent(type=ResourceEvent.TYPE_BOOKMARK))


class Script:
    """Plays one list of steps per stream; a status ends the stream with it, the end of the list with OK."""

    def __init__(self, *streams: Sequence[Step]) -> None:
        self._streams = iter(streams)
        self.requests: list[WatchResourcesRequest] = []
        self.waits: list[float] = []

    async def watch(self, request: WatchResourcesRequest, context: Context) -> AsyncIterator[WatchResourcesResponse]:
        self.requests.append(request)
        for step in next(self._streams, [grpc.StatusCode.DATA_LOSS]):  # DATA_LOSS: the script is over
            if isinstance(step, grpc.StatusCode):
                await context.abort(step, "scripted")
            else:
                yield step

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def play(self, *, after: int | None = None) -> tuple[list[str], JanuaError]:
        """What a watcher sees until the script is over, and the error that ended it."""
        seen: list[WatchBatch] = []
        async with (
            serving(WatchResources=self.watch) as address,
            ConfigClient(address, reconnecting=Reconnecting(sleep=self.sleep)) as client,
            aclosing(client.watch(KIND_UPSTREAM, after_revision=after)) as batches,
        ):
            try:
                async for batch in batches:
                    seen += [batch]
            except JanuaError as error:
                return [f"{batch.revision}: {' '.join(map(describe, batch.events))}".strip() for batch in seen], error
        raise AssertionError("a watch never ends by itself")

    @property
    def resumed_after(self) -> list[int | None]:
        return [each.after_revision if each.HasField("after_revision") else None for each in self.requests]


def describe(event: ResourceEvent) -> str:
    if event.type == ResourceEvent.TYPE_BOOKMARK:
        return "bookmark"
    sign = {ADDED: "+", MODIFIED: "~", DELETED: "-"}[event.type]
    return f"{sign}{event.resource.resource.upstream.name}{event.resource.etag}"


async def test_lists_then_follows() -> None:
    script = Script(
        [
            page(event(ADDED, "a"), event(ADDED, "b")),
            page(event(ADDED, "c")),
            bookmark(5),
            revision(6, event(MODIFIED, "a", "2"), event(DELETED, "b")),
            grpc.StatusCode.DATA_LOSS,
        ]
    )
    seen, _ = await script.play()
    assert seen == ["0: +a1 +b1", "0: +c1", "5: bookmark", "6: ~a2 -b1"]
    assert script.requests == [WatchResourcesRequest(kind=KIND_UPSTREAM)]


@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED", "OK"])
async def test_resumes_after_the_last_revision(code: str) -> None:
    lost = [] if code == "OK" else [grpc.StatusCode[code]]
    script = Script(
        [page(event(ADDED, "a")), bookmark(5), *lost],
        [revision(6, event(ADDED, "b")), revision(7, event(ADDED, "c")), *lost],
        [revision(8, event(DELETED, "a")), bookmark(9), *lost],
    )
    seen, _ = await script.play()
    assert seen == ["0: +a1", "5: bookmark", "6: +b1", "7: +c1", "8: -a1", "9: bookmark"]
    assert script.resumed_after == [None, 5, 7, 9]
    assert {request.kind for request in script.requests} == {KIND_UPSTREAM}


async def test_begins_where_it_is_told() -> None:
    script = Script([revision(4, event(ADDED, "a")), grpc.StatusCode.UNAVAILABLE], [])
    seen, _ = await script.play(after=3)
    assert seen == ["4: +a1"]
    assert script.resumed_after[:2] == [3, 4]


async def test_a_revision_is_resumed_after_by_its_time() -> None:
    """So that a store that was put back is not taken for the same."""
    made = [Timestamp(seconds=1), Timestamp(seconds=2)]
    script = Script(
        [WatchResourcesResponse(events=bookmark(5).events, revision=5, revision_time=made[0])],
        [WatchResourcesResponse(events=[event(ADDED, "a")], revision=6, revision_time=made[1])],
        [grpc.StatusCode.OUT_OF_RANGE],
    )
    _, error = await script.play()
    assert isinstance(error, OutOfRangeError)
    assert [(each.after_revision, each.after_time) for each in script.requests[1:]] == [(5, made[0]), (6, made[1])]


async def test_an_empty_configuration_ends_its_list_at_revision_0() -> None:
    script = Script([bookmark(0)], [revision(1, event(ADDED, "a"))])
    seen, _ = await script.play()
    assert seen == ["0: bookmark", "1: +a1"]
    assert script.resumed_after == [None, 0, 1]


async def test_a_first_list_that_was_lost_gives_only_the_differences_the_second_time() -> None:
    script = Script(
        [page(event(ADDED, "a"), event(ADDED, "b"), event(ADDED, "c")), grpc.StatusCode.UNAVAILABLE],
        [page(event(ADDED, "a"), event(ADDED, "b", "2")), grpc.StatusCode.UNAVAILABLE],
        [page(event(ADDED, "a"), event(ADDED, "b", "2")), page(event(ADDED, "d")), bookmark(9)],
    )
    seen, _ = await script.play()
    assert seen == ["0: +a1 +b1 +c1", "0: ~b2", "0:", "0: +d1", "9: -c1 bookmark"]
    assert script.resumed_after == [None, None, None, 9]


async def test_kinds_that_are_newer_than_the_client_are_handed_out_as_they_came() -> None:
    unknown = [
        ResourceEvent(
            type=ADDED, resource=StoredResource(resource=Resource.FromString(b"\xc2\x3e\x01x"), etag=f"-unknown-{each}")
        )
        for each in range(2)
    ]
    script = Script([page(event(ADDED, "a"), *unknown), grpc.StatusCode.UNAVAILABLE], [page(*unknown), bookmark(3)])
    seen, _ = await script.play()
    assert seen == ["0: +a1 +-unknown-0 +-unknown-1", "0:", "3: -a1 bookmark"]


async def test_waits_longer_after_each_failure_and_little_again_after_an_answer() -> None:
    lost: list[Step] = [grpc.StatusCode.UNAVAILABLE]
    script = Script([bookmark(1), *lost], lost, lost, lost, lost, lost, lost, lost, [bookmark(2), *lost], lost)
    await script.play()
    ceilings = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.1, 0.2]
    for wait, ceiling in zip(script.waits, ceilings, strict=True):
        assert ceiling / 2 <= wait <= ceiling


async def test_a_first_stream_that_cannot_be_opened_is_an_error() -> None:
    script = Script([grpc.StatusCode.UNAVAILABLE])
    seen, error = await script.play()
    assert seen == []
    assert isinstance(error, UnavailableError)


async def test_changes_that_are_gone_are_an_error_and_no_gap() -> None:
    script = Script([bookmark(5), grpc.StatusCode.UNAVAILABLE], [grpc.StatusCode.OUT_OF_RANGE])
    seen, error = await script.play()
    assert seen == ["5: bookmark"]
    assert isinstance(error, OutOfRangeError)


async def test_closing_the_iterator_ends_the_call() -> None:
    ended = asyncio.Event()

    async def watch(request: WatchResourcesRequest, context: Context) -> AsyncIterator[WatchResourcesResponse]:
        context.add_done_callback(lambda _: ended.set())  # type: ignore[arg-type]  # the stub's type fits nothing
        assert context.time_remaining() is not None  # it has a deadline like every call
        while True:
            yield bookmark(1)

    async with serving(WatchResources=watch) as address, ConfigClient(address) as client:
        async with aclosing(client.watch()) as batches:
            await anext(batches)
        await ended.wait()
