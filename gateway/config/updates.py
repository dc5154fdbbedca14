"""Takes responses to the sink: one at a time for each type, the types beside each other."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.config.discovery import DiscoveryResponse, structural_faults
from gateway.config.resources import RESOURCE_TYPES, SERVICE, SYNC_STATE, Rejection
from gateway.config.sink import ConfigSink
from gateway.config.stream import Stream

# Responses of one type that may wait for the one before. A server sends the next only after our answer.
_WAITING = 8


@dataclass(frozen=True, slots=True)
class _Delivery:
    stream: Stream
    response: DiscoveryResponse


class Updates:
    """Outlives the streams: an update goes on when its stream is lost, and only its answer goes nowhere then.

    `on_services` is called after each update of services, since these name secrets.
    """

    def __init__(self, sink: ConfigSink, on_services: Callable[[], None]) -> None:
        self._sink = sink
        self._on_services = on_services
        self._inboxes = {type_url: asyncio.Queue[_Delivery](_WAITING) for type_url in (*RESOURCE_TYPES, SYNC_STATE)}

    async def run(self) -> None:
        """Works until cancelled. Errors of the sink come out of here."""
        async with asyncio.TaskGroup() as tasks:
            for inbox in self._inboxes.values():
                tasks.create_task(self._work(inbox))

    async def deliver(self, stream: Stream, response: DiscoveryResponse) -> None:
        """Hands a response over. Waits only if the server sends on without our answers.

        A type that is not known was not asked for: it is ignored and accepted.
        """
        inbox = self._inboxes.get(response.type_url)
        if inbox is None:
            stream.answer(response)
        else:
            await inbox.put(_Delivery(stream, response))

    async def settled(self, type_url: str) -> None:
        """Waits until nothing of the type is being taken or waiting for it."""
        await self._inboxes[type_url].join()

    async def _work(self, inbox: asyncio.Queue[_Delivery]) -> None:
        while True:
            delivery = await inbox.get()
            # What a lost stream left untaken is dropped: the next one sends it again, if it is still true.
            if delivery.stream.is_live:
                rejections = await self._take(delivery.stream, delivery.response)
                delivery.stream.answer(delivery.response, rejections)
            inbox.task_done()

    async def _take(self, stream: Stream, response: DiscoveryResponse) -> Sequence[Rejection]:
        if faults := structural_faults(response):
            return faults
        if response.type_url == SYNC_STATE:
            await self._sync(stream, response)
            return ()
        type_url = response.type_url
        upserts = [resource for resource in response.resources if stream.asks_for(type_url, resource.name)]
        removals = [name for name in response.removals if stream.asks_for(type_url, name)]
        if not (upserts or removals):
            return ()
        await asyncio.sleep(0)  # to look through a large response takes a turn, too
        rejections = await self._sink.update(type_url, response.revision, upserts, removals)
        if type_url == SERVICE:
            self._on_services()
        return rejections

    async def _sync(self, stream: Stream, response: DiscoveryResponse) -> None:
        for type_url in RESOURCE_TYPES:
            await self.settled(type_url)
        # If the stream is lost by now, a part of the sync may have been dropped.
        if stream.is_live and response.sync is not None:
            self._sink.synced(response.sync.epoch, response.sync.revision)
