"""The composition root: builds the parts, runs them until told to stop, takes them down in order."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from janua_resources.sealing import Sealer

from config_server.access.access_file import AccessFile
from config_server.apply import Applier
from config_server.canary import Canaries
from config_server.canary_guard import CanaryGuard
from config_server.client_status import ClientStatusService
from config_server.config_service import ConfigService
from config_server.discovery import DiscoveryService
from config_server.fleet.departures import Departures
from config_server.fleet.fleet_follower import FleetFollower
from config_server.fleet.fleet_view import FleetView
from config_server.fleet_watch import FleetWatcher
from config_server.follower import Follower
from config_server.history import History
from config_server.housekeeping import Housekeeping
from config_server.key_service import ApiKeys
from config_server.listen_address import ListenAddress
from config_server.metrics import Metrics
from config_server.node_service import NodeService
from config_server.nodes import NodeRegistry
from config_server.push_schedule import Debounce, PushSchedule
from config_server.revision_signal import RevisionSignal
from config_server.server import ConfigServer
from config_server.snapshot_cache import SnapshotCache
from config_server.store.base import Store, StoreError, StoreUnavailableError
from config_server.store.open import open_store, redacted_store
from config_server.store.sealed import SealedStore
from config_server.tls import ServerTls, TlsFiles
from config_server.watch import Watcher
from config_server.writer import HistoryLostError, Writer

if TYPE_CHECKING:
    from config_server.console.console import Console

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

_RELOAD_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`store` is a URL such as `sqlite:///config.db`; `replica_id` names this server to nodes; of the newest
    `kept_revisions` the content is known. Without `access_file` everybody who can connect may do everything."""

    listen: ListenAddress
    store: str
    replica_id: str
    drain_timeout_s: float = 10.0
    kept_revisions: int = 1000
    encryption_keys: Sequence[bytes] = field(default=(), repr=False)
    console: ListenAddress | None = None
    tls: TlsFiles | None = None
    access_file: Path | None = None
    debounce: Debounce = field(default_factory=Debounce)

    @property
    def is_private(self) -> bool:
        """Whether nobody but nodes is sent what goes to nodes, or can read it on its way."""
        return self.listen.is_loopback or (self.tls is not None and self.access_file is not None)

    @property
    def drain_jitter_s(self) -> float:
        """Streams end within the first part of the drain, so that what is still answered has time."""
        return min(2.0, self.drain_timeout_s / 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What the server tells when it serves."""

    grpc: ListenAddress
    console: ListenAddress | None
    store: str
    revision: int


async def run(
    settings: Settings, *, on_ready: Callable[[Ready], None], stopped: Callable[[], Awaitable[object]]
) -> None:
    """Serves until `stopped` returns, then drains. Raises StoreError, ListenError, TlsError or AccessError if it
    cannot begin.

    A store that is not what it was is loaded anew, behind a new server on the same address: nodes and watches come
    back and compare what they have with it.
    """
    announced: Ready | None = None
    door = _door(settings)

    def told(ready: Ready) -> None:
        nonlocal announced
        if announced is None:
            on_ready(ready)
        announced = ready

    async with open_store(settings.store, replica_id=settings.replica_id) as below:
        store = SealedStore(below, Sealer(settings.encryption_keys))
        if settings.encryption_keys and (count := await store.seal_anew()):
            _log.info("secrets were sealed with the first key", bodies=count)
        if settings.encryption_keys and not settings.is_private:
            _log.warning("nodes are not given values of secrets: that takes TLS and an access file")
        parts: _Parts | None = await _assemble(settings, store, door)
        while parts is not None:
            try:
                await _serve(settings, parts, store, door, told, stopped)
            except* HistoryLostError as lost:
                error = str(lost.exceptions[0])
                _log.error("the store is not what it was: beginning anew with what it is", error=error)
            else:
                return
            if announced is not None:
                settings = replace(settings, listen=announced.grpc, console=announced.console)
            parts = await _assemble_again(settings, store, door, stopped)


@dataclass(frozen=True, slots=True)
class _Door:
    """What stands between the network and the parts: it outlives them."""

    tls: ServerTls | None
    access: AccessFile | None


def _door(settings: Settings) -> _Door:
    tls = None if settings.tls is None else ServerTls(settings.tls)
    if settings.access_file is None:
        return _Door(tls, None)
    takes_certificates = settings.tls is not None and settings.tls.client_ca is not None
    return _Door(tls, AccessFile(settings.access_file, takes_certificates=takes_certificates))


async def _assemble_again(
    settings: Settings, store: Store, door: _Door, stopped: Callable[[], Awaitable[object]]
) -> "_Parts | None":
    """Tries until it succeeds, or the server is to stop."""
    while True:
        try:
            return await _assemble(settings, store, door)
        except (StoreError, StoreUnavailableError) as error:
            _log.error("the store cannot be loaded: tried again", error=str(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(_RELOAD_EVERY_S):
                await stopped()
                return None


async def _serve(
    settings: Settings,
    parts: "_Parts",
    store: Store,
    door: _Door,
    on_ready: Callable[[Ready], None],
    stopped: Callable[[], Awaitable[object]],
) -> None:
    address = await parts.server.start(settings.listen, None if door.tls is None else door.tls.credentials())
    try:
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(part.run()) for part in parts.background]
            console = None if parts.console is None else parts.console.start(tasks)
            store_name = redacted_store(settings.store)
            await parts.housekeeping.meet()  # who asks it at once how far all nodes are is not told that there are none
            on_ready(Ready(grpc=address, console=console, store=store_name, revision=parts.revision))
            await stopped()
            _log.info("draining", timeout_s=settings.drain_timeout_s)
            await parts.server.drain(settings.drain_timeout_s)
            if parts.console is not None:
                parts.console.stop()
            for task in background:
                task.cancel()
    finally:
        await parts.server.drain(0)
        await parts.housekeeping.write_nodes()
        if store.peers is not None:
            await store.peers.say_gone()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    server: ConfigServer
    console: "Console | None"
    housekeeping: Housekeeping
    background: tuple[Writer | PushSchedule | Housekeeping | CanaryGuard | FleetFollower | Follower | AccessFile, ...]
    revision: int


async def _assemble(settings: Settings, store: Store, door: _Door) -> _Parts:
    world = await store.load()
    cache = SnapshotCache(world, shows_values=settings.is_private)
    signal = RevisionSignal(world.revision)
    nodes = NodeRegistry(await store.load_nodes(), clock=_now, replica=settings.replica_id)
    metrics = Metrics()
    writer = Writer(store=store, cache=cache, signal=signal)
    applier = Applier(
        store=store,
        cache=cache,
        writer=writer,
        nodes=nodes,
        metrics=metrics,
        no_values=_no_values(settings),
        clock=_now,
    )
    keys = ApiKeys(cache=cache, writer=writer, clock=_now)
    fleet = FleetView(nodes, has_peers=store.peers is not None)
    discovery = DiscoveryService(
        cache=cache,
        fleet=fleet,
        nodes=nodes,
        metrics=metrics,
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
            store=store,
            signal=signal,
            keys=keys,
            history=history,
            applier=applier,
            watcher=watcher,
            nodes=nodes,
            fleet=FleetWatcher(nodes=nodes, history=history, signal=signal),
            canaries=canaries,
            guard=guard,
        ),
        node=NodeService(nodes, Departures(fleet, nodes, discovery, write_nodes=housekeeping.write_nodes)),
        discovery=discovery,
        client_status=ClientStatusService(discovery),
        watches=signal,
        guards=[] if door.access is None else [door.access.guard],
    )
    schedule = PushSchedule(signal, discovery.push, debounce=settings.debounce, clock=time.monotonic)
    watch = FleetFollower(fleet, nodes, discovery.push_fleet, debounce=settings.debounce, clock=time.monotonic)
    metrics.watch(
        streams=lambda: len(discovery.clients()),
        nodes=nodes.records,
        revision=lambda: cache.revision,
    )
    console = None
    if settings.console is not None:
        # A server without one does without the web framework.
        from config_server.console.console import Console
        from config_server.console.overview import overview

        console = Console(
            settings.console,
            overview=lambda: overview(settings.replica_id, cache, nodes, history),
            metrics=metrics,
            guard=None if door.access is None else door.access.guard,
        )
    return _Parts(
        server=server,
        console=console,
        housekeeping=housekeeping,
        background=(
            *(writer, schedule, housekeeping, guard, watch),
            *([] if store.peers is None else [Follower(peers=store.peers, writer=writer)]),
            *([] if door.access is None else [door.access]),
        ),
        revision=world.revision,
    )


def _no_values(settings: Settings) -> str:
    """Why secrets may not hold their value, and what to do; empty if they may."""
    if not settings.encryption_keys:
        return "this server has no encryption key; start it with --encryption-key-file"
    if not settings.is_private:
        return (
            "this server would send it to whoever connects, over the network; "
            "give it --tls-cert, --tls-key and --access-file, or have it listen on loopback"
        )
    return ""


def _now() -> datetime:
    return datetime.now(UTC)
