"""Following the configuration over streams that may break: every change once, in order, none left out."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass

import grpc
from janua.config.v1.config_service_pb2 import ResourceEvent, WatchResourcesRequest, WatchResourcesResponse
from janua.config.v1.resource_pb2 import Kind, StoredResource
from janua_resources.kinds import key_of, unwrap

from janua_client.errors import JanuaError
from janua_client.streams import LOST, Reconnecting, responses

WatchCall = grpc.aio.UnaryStreamCall[WatchResourcesRequest, WatchResourcesResponse]
OpenWatch = Callable[[WatchResourcesRequest], WatchCall]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchBatch:
    """What came in one piece: a page of the first list, or all the changes of one revision."""

    events: tuple[ResourceEvent, ...]

    revision: int
    """Where to resume once the events are handled; 0 within the first list, which only its BOOKMARK ends."""


async def follow(
    open_stream: OpenWatch, request: WatchResourcesRequest, reconnecting: Reconnecting
) -> AsyncGenerator[WatchBatch]:
    """Yields batches for ever. A stream that breaks is opened again where it was lost.

    Raises `JanuaError` if the first stream cannot be opened, or for a failure that a new stream would not mend, such as
    `OutOfRangeError` when the server no longer has the changes since the last batch.
    """
    first_list = None if request.HasField("after_revision") else FirstList()
    waits = reconnecting.backoff.waits()
    opened = False
    while True:
        answered = False
        try:
            async for response in responses(open_stream(request)):
                opened, answered, waits = True, True, reconnecting.backoff.waits()
                events = tuple(response.events)
                if first_list is not None:
                    events = tuple(first_list.events_of(events))
                    if not first_list.complete:
                        yield WatchBatch(events=events, revision=0)
                        continue
                    first_list = None
                yield WatchBatch(events=events, revision=response.revision)
                request = _after(response, request.kind)
        except JanuaError as error:
            if not opened or not isinstance(error, LOST):
                raise
            if not answered:
                reconnecting.on_lost(error)
        if first_list is not None:
            first_list.begin_again()
        await reconnecting.sleep(next(waits))


def _after(response: WatchResourcesResponse, kind: Kind.ValueType) -> WatchResourcesRequest:
    """Asks for what comes after a response; it may have come from a store that is put back meanwhile."""
    made = response.revision_time if response.HasField("revision_time") else None
    return WatchResourcesRequest(kind=kind, after_revision=response.revision, after_time=made)


class FirstList:
    """The first list of a watch. It cannot be resumed, so after a loss it comes again from the beginning: this turns
    the second reading into the differences to what was already handed out."""

    def __init__(self) -> None:
        self.complete = False
        self._handed_out: dict[tuple[int, str], StoredResource] = {}
        self._listed: set[tuple[int, str]] = set()

    def begin_again(self) -> None:
        """The stream was lost; the next events are the first of a new list."""
        self._listed.clear()

    def events_of(self, events: Iterable[ResourceEvent]) -> Iterator[ResourceEvent]:
        """Takes a page of the list and yields what is new about it. `complete` is set by the BOOKMARK."""
        for event in events:
            if event.type == ResourceEvent.TYPE_BOOKMARK:
                self.complete = True
                yield from self._vanished()
                yield event
            elif (change := self._change(event.resource)) is not None:
                yield change

    def _change(self, resource: StoredResource) -> ResourceEvent | None:
        key = _key(resource)
        before = self._handed_out.get(key)
        self._handed_out[key] = resource
        self._listed.add(key)
        if before is None:
            return ResourceEvent(type=ResourceEvent.TYPE_ADDED, resource=resource)
        if before.etag == resource.etag:
            return None
        return ResourceEvent(type=ResourceEvent.TYPE_MODIFIED, resource=resource)

    def _vanished(self) -> Iterator[ResourceEvent]:
        for key, resource in self._handed_out.items():
            if key not in self._listed:
                yield ResourceEvent(type=ResourceEvent.TYPE_DELETED, resource=resource)


def _key(resource: StoredResource) -> tuple[int, str]:
    if resource.resource.WhichOneof("kind") is None:
        return 0, resource.etag  # of a kind that is newer than this client, which cannot tell its name
    key = key_of(unwrap(resource.resource))
    return key.kind, key.name
