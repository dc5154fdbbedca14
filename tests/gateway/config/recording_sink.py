"""A sink that keeps what it gets, refuses what it is told to, and can be made to wait."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.config.resources import NodeIdentity, ReceivedResource, Rejection
from gateway.config.subscriber import Subscriber

NODE = NodeIdentity(id="node-1", cluster="edge", version="1.2.3")
PATIENCE_S = 20


@dataclass(frozen=True, slots=True)
class Update:
    """One call of `update`."""

    type_url: str
    revision: str
    upserts: tuple[ReceivedResource, ...]
    removals: tuple[str, ...]


class RecordingSink:
    """Implements `ConfigSink`. A type in `gates` waits, before it takes anything, until its event is set."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, ReceivedResource]] = defaultdict(dict)
        self.secrets: set[str] = set()
        self.refused: dict[str, Rejection] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.updates: list[Update] = []
        self.epoch = ""
        self.started: asyncio.Queue[Update] = asyncio.Queue()
        self.syncs: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.on_update: Callable[[Update], None] = lambda update: None

    def held_versions(self, type_url: str) -> Mapping[str, str]:
        return {name: resource.version for name, resource in self.held[type_url].items()}

    def secret_names(self) -> Collection[str]:
        return frozenset(self.secrets)

    async def update(
        self, type_url: str, revision: str, upserts: Sequence[ReceivedResource], removals: Sequence[str]
    ) -> Sequence[Rejection]:
        update = Update(type_url, revision, tuple(upserts), tuple(removals))
        self.updates.append(update)
        self.started.put_nowait(update)
        self.on_update(update)
        if type_url in self.gates:
            await self.gates[type_url].wait()
        for name in removals:
            self.held[type_url].pop(name, None)
        for resource in upserts:
            if resource.name not in self.refused:
                self.held[type_url][resource.name] = resource
        return [self.refused[resource.name] for resource in upserts if resource.name in self.refused]

    def synced(self, epoch: str, revision: int) -> None:
        self.epoch = epoch
        self.syncs.put_nowait((epoch, revision))

    async def next_update(self) -> Update:
        """The next update that has begun."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.started.get()

    async def next_sync(self) -> tuple[str, int]:
        """The next mark of a sync's end."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.syncs.get()

    def refuse(self, type_url: str, name: str, version: str = "v1") -> Rejection:
        """Lets this name be refused from now on, and gives the rejection."""
        rejection = Rejection(
            type_url=type_url,
            name=name,
            version=version,
            reason="INVALID_FIELD",
            field="endpoints[0].address",
            message="is not an address",
        )
        self.refused[name] = rejection
        return rejection


class Pauses:
    """Stands in for sleep: notes how long, and lets go at once, or, if `is_held`, when told to."""

    def __init__(self, *, is_held: bool = False) -> None:
        self.lengths_s: list[float] = []
        self._is_held = is_held
        self._begun: asyncio.Queue[float] = asyncio.Queue()
        self._turns = asyncio.Semaphore(0)

    async def __call__(self, length_s: float) -> None:
        self.lengths_s.append(length_s)
        self._begun.put_nowait(length_s)
        if self._is_held:
            await self._turns.acquire()
        else:
            await asyncio.sleep(0)

    async def begun(self) -> float:
        """Waits until the next pause begins and gives its length."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._begun.get()

    def let_go(self) -> None:
        """Ends one pause."""
        self._turns.release()


@asynccontextmanager
async def running(subscriber: Subscriber) -> AsyncIterator[Subscriber]:
    """Runs the subscriber beside the test and cancels it at the end; what it raised comes out."""
    task = asyncio.create_task(subscriber.run())
    try:
        yield subscriber
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
