"""The composition root: builds the parts, runs them until told to stop, takes them down in order."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from config_server.apply import Applier
from config_server.canary import Canaries
from config_server.canary_guard import CanaryGuard
from config_server.config_service import ConfigService
from config_server.discovery import DiscoveryService
from config_server.fleet_watch import FleetWatcher
from config_server.history import History
from config_server.housekeeping import Housekeeping
from config_server.listen_address import ListenAddress
from config_server.node_service import NodeService
from config_server.nodes import NodeRegistry
from config_server.push_schedule import Debounce, PushSchedule
from config_server.revision_signal import RevisionSignal
from config_server.server import ConfigServer
from config_server.snapshot_cache import SnapshotCache
from config_server.store.base import Store
from config_server.store.sqlite import open_sqlite
from config_server.watch import Watcher
from config_server.writer import Writer

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`store` is a URL such as `sqlite:///config.db`; `replica_id` names this server to nodes; of the newest
    `kept_revisions` the content is known."""

    listen: ListenAddress
    store: str
    replica_id: str
    drain_timeout_s: float = 10.0
    kept_revisions: int = 1000
    debounce: Debounce = field(default_factory=Debounce)

    @property
    def drain_jitter_s(self) -> float:
        """Streams end within the first part of the drain, so that what is still answered has time."""
        return min(2.0, self.drain_timeout_s / 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What the server tells when it serves."""

    grpc: ListenAddress
    store: str
    revision: int


async def run(
    settings: Settings, *, on_ready: Callable[[Ready], None], stopped: Callable[[], Awaitable[object]]
) -> None:
    """Serves until `stopped` returns, then drains. Raises StoreError or ListenError if it cannot begin."""
    async with open_sqlite(settings.store) as store:
        parts = await _assemble(settings, store)
        address = await parts.server.start(settings.listen)
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(part.run()) for part in parts.background]
                on_ready(Ready(grpc=address, store=settings.store, revision=parts.revision))
                await stopped()
                _log.info("draining", timeout_s=settings.drain_timeout_s)
                await parts.server.drain(settings.drain_timeout_s)
                for task in background:
                    task.cancel()
        finally:
            await parts.server.drain(0)
            await parts.housekeeping.write_nodes()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    server: ConfigServer
    housekeeping: Housekeeping
    background: tuple[Writer | PushSchedule | Housekeeping | CanaryGuard, ...]
    revision: int


async def _assemble(settings: Settings, store: Store) -> _Parts:
    world = await store.load()
    cache = SnapshotCache(world)
    signal = RevisionSignal(world.revision)
    nodes = NodeRegistry(await store.load_nodes(), clock=_now, replica=settings.replica_id)
    writer = Writer(store=store, cache=cache, signal=signal)
    applier = Applier(store=store, cache=cache, writer=writer, nodes=nodes, clock=_now)
    discovery = DiscoveryService(
        cache=cache,
        nodes=nodes,
        replica_id=settings.replica_id,
        push_delay_s=settings.debounce.quiet_s,
        drain_jitter_s=settings.drain_jitter_s,
    )
    watcher = Watcher(store=store, cache=cache, signal=signal)
    housekeeping = Housekeeping(
        store=store, nodes=nodes, signal=signal, kept_revisions=settings.kept_revisions, clock=_now
    )
    canaries = Canaries(cache=cache, applier=applier, writer=writer, clock=_now)
    guard = CanaryGuard(cache=cache, nodes=nodes, signal=signal, abort=canaries.abort)
    history = History(store=store, cache=cache)
    server = ConfigServer(
        config=ConfigService(
            cache=cache,
            history=history,
            applier=applier,
            watcher=watcher,
            nodes=nodes,
            fleet=FleetWatcher(nodes=nodes, history=history, signal=signal),
            canaries=canaries,
            guard=guard,
        ),
        node=NodeService(nodes),
        discovery=discovery,
        watches=signal,
    )
    schedule = PushSchedule(signal, discovery.push, debounce=settings.debounce, clock=time.monotonic)
    return _Parts(
        server=server,
        housekeeping=housekeeping,
        background=(writer, schedule, housekeeping, guard),
        revision=world.revision,
    )


def _now() -> datetime:
    return datetime.now(UTC)
