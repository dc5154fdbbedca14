"""What is written down or thrown away from time to time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

import structlog

from config_server.apply import REQUEST_IDS_KEPT
from config_server.nodes import NodeRegistry
from config_server.revision_signal import RevisionSignal
from config_server.store.base import Store, StoreUnavailableError

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

_NODES_EVERY_S: Final = 1.0
_CLEANING_EVERY: Final = timedelta(hours=1)


class Housekeeping:
    """Writes node records once a second, all that changed in one transaction, and from time to time drops old request
    ids and what only revisions need that are older than the last `kept_revisions`."""

    def __init__(
        self,
        *,
        store: Store,
        nodes: NodeRegistry,
        signal: RevisionSignal,
        kept_revisions: int,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._nodes = nodes
        self._signal = signal
        self._kept_revisions = kept_revisions
        self._clock = clock
        self._sleep = sleep
        # Of what is written twice, the later is written last.
        self._turn = asyncio.Lock()
        # Until when it is known what other servers have written of their nodes, by the store's clock.
        self._nodes_known: datetime | None = None

    async def run(self) -> None:
        """Until cancelled."""
        cleaned: datetime | None = None
        while True:
            await self.write_nodes()
            await self.meet()
            now = self._clock()
            # A clock that was put back must not hold it up until it has come so far again.
            if cleaned is None or not cleaned <= now < cleaned + _CLEANING_EVERY:
                cleaned = now
                await self._clean(now)
            await self._sleep(_NODES_EVERY_S)

    async def write_nodes(self) -> None:
        """Writes the records of nodes that have changed since they were last written."""
        async with self._turn:
            await self._write_nodes()

    async def _write_nodes(self) -> None:
        changed, removed = self._nodes.take_unsaved()
        if not changed and not removed:
            return
        try:
            await self._store.save_nodes(changed, removed)
        except StoreUnavailableError as error:
            _log.warning("node records could not be written: they are tried again", error=str(error))
            for row in changed:
                self._nodes.changed(row.node_id)

    async def meet(self) -> None:
        """Tells other servers over the store that this one is there, and hears of their nodes."""
        if (peers := self._store.peers) is None:
            return
        try:
            await peers.say_alive()
            found = await peers.nodes(self._nodes_known)
        except StoreUnavailableError as error:
            _log.warning("nothing is heard of other servers: tried again", error=str(error))
            return
        self._nodes.take_peers(found.nodes, found.alive)
        self._nodes_known = found.time

    async def _clean(self, now: datetime) -> None:
        with _tried_again("old request ids could not be dropped"):
            await self._store.forget_requests(before=now - REQUEST_IDS_KEPT)
        horizon = self._signal.revision - self._kept_revisions
        if horizon > 0:
            with _tried_again("old revisions could not be compacted"):
                await self._store.compact(horizon)
        if self._store.peers is not None:
            with _tried_again("nodes of servers that are gone could not be dropped"):
                await self._store.peers.forget()


@contextmanager
def _tried_again(failure: str) -> Iterator[None]:
    """What fails is logged, and left to the next time."""
    try:
        yield
    except StoreUnavailableError as error:
        _log.warning(failure, error=str(error))
