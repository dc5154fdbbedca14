"""Following the configuration: a first list, then each revision as it was made."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2
from janua.config.v1.config_service_pb2 import ResourceEvent, WatchResourcesRequest, WatchResourcesResponse

from config_server.errors import ApiError
from config_server.resources import Kind, StoredChange, stored_resource, timestamp
from config_server.revision_signal import RevisionSignal, SignalClosedError
from config_server.snapshot_cache import CachedResource, SnapshotCache
from config_server.store.base import RevisionCompactedError, Store

_PAGE_RESOURCES: Final = 500
# How long a watch waits for the revision that it is to begin after.
_PATIENCE_S: Final = 5.0
# Clients take messages of 4 MiB by default.
_PAGE_BYTES: Final = 3 * 1024 * 1024


class Watcher:
    """Answers watches from the cache and the store's changes.

    Nothing is queued for a watcher: it reads revision after revision at its own pace, so a slow one holds no memory.
    Revisions are dense, so reading the next number misses none and repeats none.
    """

    def __init__(self, *, store: Store, cache: SnapshotCache, signal: RevisionSignal) -> None:
        self._store = store
        self._cache = cache
        self._signal = signal

    async def watch(self, request: WatchResourcesRequest) -> AsyncIterator[WatchResourcesResponse]:
        """Never ends by itself. Raises ApiError."""
        if request.HasField("after_revision"):
            revision = request.after_revision
            await self._check_resumable(request)
        else:
            revision = self._cache.revision
            for page in _pages(self._snapshot(request.kind)):
                yield page
            yield await self._timed(_bookmark(revision))
        while True:
            for each in range(revision + 1, await self._newest(revision) + 1):
                response = _response(await self._changes(each), each, request.kind)
                if response.events:
                    yield await self._timed(response)
                revision = each

    async def _changes(self, revision: int) -> Sequence[StoredChange]:
        try:
            return await self._store.changes_of(revision)
        except RevisionCompactedError as error:
            text = f"{error}: begin without after_revision"
            raise ApiError(code_pb2.OUT_OF_RANGE, "REVISION_COMPACTED", text) from None

    async def _timed(self, response: WatchResourcesResponse) -> WatchResourcesResponse:
        """The response, with when its revision was made."""
        if (made := await self._made(response.revision)) is not None:
            response.revision_time.CopyFrom(made)
        return response

    async def _made(self, revision: int) -> Timestamp | None:
        """When a revision was made; None for revision 0."""
        found = await self._store.revisions(before=revision + 1, limit=1)
        return timestamp(found[0].time) if found else None

    async def _check_resumable(self, request: WatchResourcesRequest) -> None:
        revision = request.after_revision
        if self._store.peers is not None:
            # It may have been made through another server, and not be here yet.
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await self._newest(revision - 1)
        if revision > self._cache.revision:
            text = f"after_revision {revision} is beyond the current revision {self._cache.revision}: begin without it"
            raise ApiError(code_pb2.OUT_OF_RANGE, "REVISION_OUT_OF_RANGE", text)
        if request.HasField("after_time") and request.after_time != await self._made(revision):
            text = f"revision {revision} is not the one that was seen, since the store was put back: begin without it"
            raise ApiError(code_pb2.OUT_OF_RANGE, "REVISION_REPLACED", text)

    def _snapshot(self, kind: Kind) -> Sequence[CachedResource]:
        """All resources at one revision. They are never changed, so holding them while they are sent is cheap."""
        resources = self._cache.resources
        return [resources[key] for key in self._cache.sorted_keys() if kind in (0, key.kind)]

    async def _newest(self, revision: int) -> int:
        try:
            return await self._signal.beyond(revision)
        except SignalClosedError:
            text = "the config server is going down: connect again and resume"
            raise ApiError(code_pb2.UNAVAILABLE, "DRAINING", text) from None


def _pages(resources: Sequence[CachedResource]) -> Iterator[WatchResourcesResponse]:
    page = WatchResourcesResponse()
    size = 0
    for resource in resources:
        stored = stored_resource(resource.entry, resource.message)
        size += stored.ByteSize() + 16
        if page.events and (len(page.events) == _PAGE_RESOURCES or size > _PAGE_BYTES):
            yield page
            page = WatchResourcesResponse()
            size = stored.ByteSize()
        page.events.add(type=ResourceEvent.TYPE_ADDED, resource=stored)
    if page.events:
        yield page


def _bookmark(revision: int) -> WatchResourcesResponse:
    return WatchResourcesResponse(events=[ResourceEvent(type=ResourceEvent.TYPE_BOOKMARK)], revision=revision)


def _response(changes: Sequence[StoredChange], revision: int, kind: Kind) -> WatchResourcesResponse:
    response = WatchResourcesResponse(revision=revision)
    for change in changes:
        if not change.entry.key.is_record and kind in (0, change.entry.key.kind):
            stored = stored_resource(change.entry, change.entry.decode())
            response.events.add(type=change.operation.value, resource=stored)
    return response
