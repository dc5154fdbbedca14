"""The configuration of a running node: takes what discovery, a file or the disk bring, and publishes snapshots."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from gateway.compile.resource_table import Key, ResourceTable
from gateway.config.resources import RESOURCE_TYPES, SERVICE, ReceivedResource, Rejection
from gateway.config.snapshot import Snapshot
from gateway.config.turns import in_turns

# How long a resource may wait for what it names before it is refused.
REFERENCE_TIMEOUT_S = 5.0

_log = structlog.get_logger("janua.config")


@dataclass(slots=True, kw_only=True)
class ConfigListener:
    """Whom the node's configuration tells of changes. `prepare` does in steps what can be done before `on_snapshot`."""

    prepare: Callable[[Snapshot], Iterable[None]]
    on_snapshot: Callable[[Snapshot], None]
    on_secret_names: Callable[[], None]
    on_recovered: Callable[[str, Collection[str]], None]


class NodeConfig:
    """The sink of a subscriber (`gateway.config.sink.ConfigSink`).

    Nothing is published before the first sync is complete, so that a node never serves a part of its first
    configuration; from then on every change is published as it comes.
    """

    def __init__(
        self, table: ResourceTable, listener: ConfigListener, *, reference_timeout_s: float = REFERENCE_TIMEOUT_S
    ) -> None:
        self.table = table
        self.epoch = ""
        self.revision = 0
        self._listener = listener
        self._reference_timeout_s = reference_timeout_s
        self._published = -1
        self._is_started = asyncio.Event()
        self._settled = asyncio.Condition()
        self._updating = asyncio.Lock()

    async def wait_until_started(self) -> None:
        """Returns once there is a configuration to serve."""
        await self._is_started.wait()

    @property
    def is_started(self) -> bool:
        """Whether there is a configuration to serve."""
        return self._is_started.is_set()

    def load(self, epoch: str, revision: int, resources: Sequence[ReceivedResource]) -> list[Rejection]:
        """Takes a whole configuration at once, as far as it is good, and publishes it. Says what is refused."""
        rejections = _replace_all(self.table, resources)
        self.epoch, self.revision = epoch, revision
        self._start()
        return rejections

    def load_if_good(self, resources: Sequence[ReceivedResource]) -> list[Rejection]:
        """Takes a whole configuration at once and publishes it; nothing of it if anything is refused. Says what is."""
        trial = self.table.copy()
        rejections = _replace_all(trial, resources)
        if not rejections:
            self.table = trial
            self._start()
        return rejections

    def held_versions(self, type_url: str) -> Mapping[str, str]:
        """Name to version of what is in use."""
        return self.table.held_versions(type_url)

    def secret_names(self) -> Collection[str]:
        """Secrets that the services name."""
        return self.table.secret_names()

    async def update(
        self, type_url: str, revision: str, upserts: Sequence[ReceivedResource], removals: Sequence[str]
    ) -> Sequence[Rejection]:
        """Takes one response; returns once each resource in it is in use or refused."""
        names = [resource.name for resource in upserts]
        # It takes many turns, and no other update publishes a part of it.
        async with self._updating:
            async for _ in in_turns(self._update_in_steps(type_url, revision, upserts, removals)):
                pass
            await asyncio.sleep(0)  # to publish takes a turn of its own
            await self._changed()
        if self.table.waiting(type_url, names):
            await self._wait_for_references(type_url, names)
        rejections = self.table.rejections(type_url, names)
        for rejection in rejections:
            _log.warning("resource refused", resource=str(rejection), version=rejection.version[:12])
        return rejections

    def _update_in_steps(
        self, type_url: str, revision: str, upserts: Sequence[ReceivedResource], removals: Sequence[str]
    ) -> Iterator[None]:
        """All but publishing."""
        yield from self.table.update_in_steps(type_url, upserts, removals)
        if type_url == SERVICE:
            self.table.drop_unnamed_secrets()
        if revision.isdigit():
            self.revision = max(self.revision, int(revision))
        self._listener.on_secret_names()
        yield
        snapshot = self.table.snapshot()
        yield
        yield from self._listener.prepare(snapshot)

    async def _wait_for_references(self, type_url: str, names: Sequence[str]) -> None:
        try:
            async with asyncio.timeout(self._reference_timeout_s), self._settled:
                await self._settled.wait_for(lambda: not self.table.waiting(type_url, names))
        except TimeoutError:
            self.table.refuse_waiting(type_url, names)

    async def _changed(self) -> None:
        """Publishes, and wakes updates that wait for references."""
        if self.is_started:
            self._publish()
        async with self._settled:
            self._settled.notify_all()

    def synced(self, epoch: str, revision: int) -> None:
        """The first sync of a stream is complete."""
        self.epoch, self.revision = epoch, revision
        self._start()

    def retry_secrets(self) -> None:
        """Reads all secrets again and publishes if one has changed."""
        for rejection in self.table.retry_secrets():
            _log.warning("secret not read again, going on with the one of before", resource=str(rejection))
        if self.is_started:
            self._publish()

    def _start(self) -> None:
        self._publish()
        self._is_started.set()

    def _publish(self) -> None:
        recovered: dict[str, list[str]] = {}
        for type_url, name in self._recovered():
            recovered.setdefault(type_url, []).append(name)
        if self.table.generation != self._published:
            self._published = self.table.generation
            self._listener.on_snapshot(self.table.snapshot())
        for type_url, names in recovered.items():
            self._listener.on_recovered(type_url, names)

    def _recovered(self) -> list[Key]:
        return self.table.take_recovered()


def _replace_all(table: ResourceTable, resources: Sequence[ReceivedResource]) -> list[Rejection]:
    """Makes these resources all that the table knows. Says what is refused."""
    known = {type_url: table.names(type_url) for type_url in RESOURCE_TYPES}
    for type_url in RESOURCE_TYPES:
        upserts = [resource for resource in resources if resource.type_url == type_url]
        known[type_url] -= {resource.name for resource in upserts}
        table.update(type_url, upserts, ())
    for type_url in reversed(RESOURCE_TYPES):
        table.update(type_url, (), known[type_url])
    for type_url in RESOURCE_TYPES:
        table.refuse_waiting(type_url, [resource.name for resource in resources if resource.type_url == type_url])
    return table.all_rejections
