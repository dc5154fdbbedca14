"""Clients that write, read and watch while servers fail around them, and record what they see."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import grpc
from grpc import aio
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from janua.config.v1.resource_pb2 import KIND_UPSTREAM

from tests.config_server.faults.history import History, Read, State, Write
from tests.config_server.worlds import batch, upstream

if TYPE_CHECKING:  # stands in the type stubs only
    from janua.config.v1.config_service_pb2_grpc import ConfigServiceAsyncStub

WRITERS = 6
_PAIRS = 4
_CALL_S = 3.0
# What tells that a server is not there, or was not there to the end.
_AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
)
_RECONNECTING = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
)


class Workload:
    """Runs from the beginning to the end of its context; `history` is whole once `finish` has returned."""

    def __init__(self, stubs: Sequence["ConfigServiceAsyncStub"], seed: int) -> None:
        self.history = History()
        self._stubs = stubs
        self._random = random.Random(seed)
        self._tokens = itertools.count(1)
        self._is_ending = asyncio.Event()
        self._watched_up_to = 0

    @property
    def acknowledged(self) -> int:
        return sum(write.revision is not None for write in self.history.writes)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(self._write(self._stubs[number % len(self._stubs)]))
            group.create_task(self._read())
            watcher = group.create_task(self._watch())
            await self._is_ending.wait()
            watcher.cancel()

    async def finish(self) -> None:
        """Lets writers come to their ends, and reads what every revision changed."""
        self._is_ending.set()

    async def read_log(self) -> None:
        newest = max((write.revision or 0 for write in self.history.writes), default=0)
        call = self._stubs[0].WatchResources(pb.WatchResourcesRequest(after_revision=0), timeout=60)
        async for response in call:
            self.history.log.append((response.revision, _state(response.events)))
            # Whatever was made although nobody was told comes too: until nothing more does.
            if response.revision >= newest and response.revision >= await self._current():
                break
        call.cancel()

    async def _current(self) -> int:
        return (await self._stubs[0].ListResources(pb.ListResourcesRequest(page_size=1), timeout=10)).revision

    async def _write(self, stub: "ConfigServiceAsyncStub") -> None:
        while not self._is_ending.is_set():
            token = f"t{next(self._tokens)}"
            pair = self._random.randrange(_PAIRS)
            changes = {f"a{pair}": token, f"b{pair}": token}
            request = batch(*(upstream(name, description=token) for name in changes))
            request.request_id = token
            begin = _now()
            revision = await self._until_answered(stub, request)
            write = Write(
                token=token, changes=changes, begin=begin, end=_now(), revision=revision, is_known=revision is not None
            )
            self.history.writes.append(write)

    async def _until_answered(self, stub: "ConfigServiceAsyncStub", request: pb.ApplyRequest) -> int:
        """Repeats with the same id while nobody knows whether it was done. Whoever was told once is told the same."""
        while True:
            try:
                return (await stub.Apply(request, timeout=_CALL_S)).revision
            except aio.AioRpcError as error:
                if error.code() not in (*_AWAY, grpc.StatusCode.ABORTED, grpc.StatusCode.RESOURCE_EXHAUSTED):
                    raise
                await asyncio.sleep(0.02)

    async def _read(self) -> None:
        stub = self._stubs[-1]
        while not self._is_ending.is_set():
            begin = _now()
            told = max((write.revision or 0 for write in self.history.writes), default=0)
            request = pb.ListResourcesRequest(kind=KIND_UPSTREAM, min_revision=told)
            with suppress(aio.AioRpcError):
                page = await stub.ListResources(request, timeout=_CALL_S)
                state = {each.resource.upstream.name: each.resource.upstream.description for each in page.resources}
                self.history.reads.append(Read(begin=begin, end=_now(), revision=page.revision, state=state))
            await asyncio.sleep(0.02)

    async def _watch(self) -> None:
        while True:
            request = pb.WatchResourcesRequest(after_revision=self._watched_up_to)
            try:
                async for response in self._stubs[0].WatchResources(request):
                    self.history.watched.append((response.revision, _state(response.events)))
                    self._watched_up_to = response.revision
            except aio.AioRpcError as error:
                if error.code() not in _AWAY:
                    raise
                await asyncio.sleep(0.05)


@asynccontextmanager
async def clients(addresses: Sequence[str]) -> AsyncIterator[list["ConfigServiceAsyncStub"]]:
    """A client of each server, that soon finds it again after a restart."""
    channels = [aio.insecure_channel(address, _RECONNECTING) for address in addresses]
    try:
        yield [ConfigServiceStub(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


def _state(events: Sequence[pb.ResourceEvent]) -> State:
    return {event.resource.resource.upstream.name: event.resource.resource.upstream.description for event in events}


def _now() -> float:
    return asyncio.get_running_loop().time()


async def eventually_more(workload: Workload, than: int, is_alive: Callable[[], bool]) -> None:
    """Returns once more writes were acknowledged than before: the server is back at work."""
    async with asyncio.timeout(60):
        while workload.acknowledged <= than:
            assert is_alive(), "the server does not start any more"
            await asyncio.sleep(0.01)
