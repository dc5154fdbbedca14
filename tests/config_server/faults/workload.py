"""Clients that write, read and watch while servers fail around them, and record what they see.

`JANUA_SEED` varies what they do, and what the tests do to servers.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from janua.config.v1.resource_pb2 import KIND_UPSTREAM

from tests.config_server.faults.asking import NAMES, Asking, as_bytes, changes_of, item_of
from tests.config_server.faults.history import NOT_DONE, REUSED, History, Read, Revision, Watch, Write, violations
from tests.config_server.faults.model import Ask
from tests.config_server.worlds import key
from tests.support.polling import eventually

if TYPE_CHECKING:  # stands in the type stubs only
    from janua.config.v1.config_service_pb2_grpc import ConfigServiceAsyncStub

SEED = int(os.environ.get("JANUA_SEED", "1"))

WRITERS = 6
_CALL_S = 3.0
# How long it may take to read all at the end.
_END_S = 60.0
# What tells that a server is not there, or was not there to the end.
_AWAY = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
)
_REFUSED = frozenset(
    {"BASE_REVISION_MISMATCH", "RESOURCE_NOT_FOUND", "RESOURCE_EXISTS", "ETAG_MISMATCH", REUSED, *NOT_DONE}
)
_RECONNECTING = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
)


class Workload:
    """Works from `run` to `finish`; `history` is whole once `run` has returned."""

    def __init__(self, stubs: Sequence["ConfigServiceAsyncStub"], seed: int) -> None:
        self._stubs = stubs
        self._random = random.Random(seed)
        self._asking = Asking(seed)
        self._is_ending = asyncio.Event()
        self._watched = Watch(after_revision=0)
        self.history = History(watches=[self._watched])
        self._told = 0

    @property
    def acknowledged(self) -> int:
        return sum(write.revision is not None for write in self.history.writes)

    async def has_seen_enough(self) -> bool:
        """Whether a history has come together that has something to be checked. On a busy machine it takes its time."""
        revisions = {write.revision for write in self.history.writes} - {None}
        reasons = {write.reason for write in self.history.writes}
        has_listed = any(watch.first for watch in self.history.watches)
        return (
            len(revisions) > 10
            and bool(self.history.reads)
            and has_listed
            and reasons > {"", "ETAG_MISMATCH", "RESOURCE_EXISTS"}
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(self._watch()), group.create_task(self._watch_anew())]
            async with asyncio.TaskGroup() as working:
                for number in range(WRITERS):
                    working.create_task(self._write(self._stubs[number % len(self._stubs)]))
                working.create_task(self._read())
            async with asyncio.timeout(_END_S):
                await self._read_log()
                await eventually(self._has_watched_all, timeout_s=_END_S)
            for watcher in watchers:
                watcher.cancel()

    async def _has_watched_all(self) -> bool:
        return self._watched.revision >= len(self.history.log)

    def finish(self) -> None:
        """Lets writers come to their ends, for which the servers must be there."""
        self._is_ending.set()

    async def _read_log(self) -> None:
        """Reads what every revision changed and which write made it, also of those that nobody was told of."""
        tokens = await self._tokens()
        if not tokens:
            return
        call = self._stubs[0].WatchResources(pb.WatchResourcesRequest(after_revision=0))
        async for response in call:
            number = response.revision
            self.history.log.append(Revision(number, tokens.get(number, ""), changes_of(response.events)))
            if number >= max(tokens):
                break
        call.cancel()

    async def _tokens(self) -> dict[int, str]:
        tokens: dict[int, str] = {}
        request = pb.ListRevisionsRequest(page_size=1000)
        while True:
            page = await self._stubs[0].ListRevisions(request, timeout=30)
            tokens |= {revision.revision: revision.message for revision in page.revisions}
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return tokens

    async def _write(self, stub: "ConfigServiceAsyncStub") -> None:
        while not self._is_ending.is_set():
            ask = self._asking.next()
            request_id = ask.token if self._random.random() < 0.7 else ""
            write = await self._until_answered(stub, ask, request_id)
            if request_id and write.revision is not None:
                match self._random.randrange(8):
                    case 0:
                        await self._until_answered(self._random.choice(self._stubs), ask, request_id)
                    case 1:
                        await self._until_answered(stub, self._asking.other_than(ask), request_id)

    async def _until_answered(self, stub: "ConfigServiceAsyncStub", ask: Ask, request_id: str) -> Write:
        """With an id it is repeated while nobody knows whether it was done."""
        request = self._asking.request(ask, request_id)
        begin = _now()
        while True:
            try:
                response = await stub.Apply(request, timeout=_CALL_S)
            except aio.AioRpcError as error:
                reason = _reason(error)
                if reason not in _REFUSED and error.code() not in _AWAY:
                    raise
                if request_id and (reason not in _REFUSED or reason in NOT_DONE):
                    await asyncio.sleep(0.02)
                    continue
                is_refused = reason in _REFUSED
                write = Write(ask=ask, begin=begin, end=_now(), reason=reason if is_refused else "")
            else:
                self._told = max(self._told, response.revision)
                write = Write(ask=ask, begin=begin, end=_now(), revision=response.revision, response=as_bytes(response))
            self.history.writes.append(write)
            return write

    async def _read(self) -> None:
        stub = self._stubs[-1]
        while not self._is_ending.is_set():
            # What was told here may have been made by another server, which the read then waits for.
            with suppress(aio.AioRpcError):
                await self._list(stub)
                await self._get(stub, self._random.choice(NAMES))
            await asyncio.sleep(0.02)

    async def _list(self, stub: "ConfigServiceAsyncStub") -> None:
        begin = _now()
        request = pb.ListResourcesRequest(kind=KIND_UPSTREAM, min_revision=self._told)
        page = await stub.ListResources(request, timeout=_CALL_S)
        state = self._asking.saw(page.revision, page.resources)
        self._told = max(self._told, page.revision)
        self.history.reads.append(Read(begin=begin, end=_now(), revision=page.revision, state=state))

    async def _get(self, stub: "ConfigServiceAsyncStub", name: str) -> None:
        begin, names = _now(), frozenset({name})
        request = pb.GetResourceRequest(key=key("upstream", name), min_revision=self._told)
        try:
            response = await stub.GetResource(request, timeout=_CALL_S)
        except aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            read = Read(begin=begin, end=_now(), revision=None, state={}, names=names)
        else:
            state = {name: item_of(response.resource)}
            read = Read(begin=begin, end=_now(), revision=response.revision, state=state, names=names)
        self.history.reads.append(read)

    async def _watch(self) -> None:
        """One watch from the beginning to the end, resumed at another server whenever it breaks."""
        watch = self._watched
        while True:
            request = pb.WatchResourcesRequest(after_revision=watch.revision)
            try:
                async for response in self._random.choice(self._stubs).WatchResources(request):
                    watch.seen.append((response.revision, changes_of(response.events)))
            except aio.AioRpcError as error:
                await _away(error)

    async def _watch_anew(self) -> None:
        """Watches that begin with a list."""
        while True:
            stub = self._random.choice(self._stubs)
            call = stub.WatchResources(pb.WatchResourcesRequest(kind=KIND_UPSTREAM))
            resources = []
            try:
                async for response in call:
                    resources += [event.resource for event in response.events]
                    if response.events[0].type == pb.ResourceEvent.TYPE_BOOKMARK:
                        first = self._asking.saw(response.revision, resources[:-1])
                        watch = Watch(after_revision=response.revision, first=first)
                        self.history.watches.append(watch)
                    elif response.revision:
                        watch.seen.append((response.revision, changes_of(response.events)))
                        if len(watch.seen) > 10:
                            break
            except aio.AioRpcError as error:
                await _away(error)
            call.cancel()


@asynccontextmanager
async def clients(addresses: Sequence[str]) -> AsyncIterator[list["ConfigServiceAsyncStub"]]:
    """A client of each server, that soon finds it again after a restart."""
    channels = [aio.insecure_channel(address, _RECONNECTING) for address in addresses]
    try:
        yield [ConfigServiceStub(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


async def _away(error: aio.AioRpcError) -> None:
    """Waits a little for a server to come back. Raises the error if it tells something else."""
    if error.code() not in _AWAY:
        raise error
    await asyncio.sleep(0.05)


def _reason(error: aio.AioRpcError) -> str:
    """The reason that a server gave; none if the error was made on the way."""
    status, info = status_pb2.Status(), error_details_pb2.ErrorInfo()
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            status.ParseFromString(value)
    return info.reason if any(detail.Unpack(info) for detail in status.details) else ""


def _now() -> float:
    return asyncio.get_running_loop().time()


async def eventually_more(workload: Workload, than: int, is_alive: Callable[[], bool]) -> None:
    """Returns once more writes were acknowledged than before: the server is back at work."""
    async with asyncio.timeout(60):
        while workload.acknowledged <= than:
            assert is_alive(), "the server does not start any more"
            await asyncio.sleep(0.01)


@asynccontextmanager
async def working(*addresses: str) -> AsyncIterator[Workload]:
    """Clients at work. What they saw is checked at the end."""
    async with clients(addresses) as stubs:
        workload = Workload(stubs, SEED)
        running = asyncio.create_task(workload.run())
        try:
            await eventually_more(workload, 0, lambda: not running.done())
            yield workload
            assert not running.done(), running.exception()
            await eventually_more(workload, workload.acknowledged, lambda: not running.done())
            await eventually(workload.has_seen_enough, timeout_s=_END_S)
            workload.finish()
            async with asyncio.timeout(120):
                await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert violations(workload.history) == []
