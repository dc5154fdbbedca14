"""What requests have really used of shared limits, on its way to the store."""

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.filters.limits.shared import RENEW, SETTLE, SharedMeter
from gateway.shared_store import SharedStore, StoreUnavailableError

_BATCH: Final = 200
# So many wait for a store that is away; then the oldest are lost.
_MOST: Final = 100_000
_RETRY_S: Final = 1.0
# A third of what a lease lasts.
_RENEWAL_S: Final = 20.0

_log = structlog.get_logger("janua.limits")


@dataclass(frozen=True, slots=True)
class Settlement:
    """What to count under one key instead of what was taken."""

    meter: SharedMeter
    taken: int
    used: int
    limit: int
    mark: int
    lease: str


class Settlements:
    """Sends what is added, in batches, until the store has taken it; and renews the leases of what still runs.

    A batch has a number by which the store knows it: one that is sent again, because its answer was lost, counts once.
    """

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._waiting: deque[Settlement] = deque(maxlen=_MOST)
        self._has_some = asyncio.Event()
        self._leases: dict[tuple[str, bytes], tuple[bytes, int]] = {}
        self._flushing = asyncio.Lock()

    def hold(self, meter: SharedMeter, lease: str, amount: int) -> None:
        """Renews a lease until it is settled."""
        self._leases[lease, meter.key] = (f"{lease}:{amount}".encode(), meter.span)

    def add(self, settlement: Settlement) -> None:
        """Sends it soon."""
        self._leases.pop((settlement.lease, settlement.meter.key), None)
        if len(self._waiting) == _MOST:
            _log.error("the shared store is away for too long: what was used of limits is lost")
        self._waiting.append(settlement)
        self._has_some.set()

    async def run(self) -> None:
        """Works until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send())
            tasks.create_task(self._renew())

    async def flush(self, timeout_s: float) -> None:
        """Sends all that waits, if it can in that time."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._waiting:
                    await self._send_batch()
        except TimeoutError:
            _log.error("the shared store was away: what was used of limits is lost", count=len(self._waiting))

    async def _send(self) -> None:
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            while self._waiting:
                await self._send_batch()

    async def _send_batch(self) -> None:
        """Returns when the store has taken it."""
        async with self._flushing:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            if not batch:
                return
            keys = [b"janua:settled:" + secrets.token_hex(16).encode(), *(each.meter.key for each in batch)]
            arguments = [argument for each in batch for argument in _arguments(each)]
            try:
                await self._until_taken(keys, arguments)
            except BaseException:
                self._waiting.extendleft(reversed(batch))
                raise

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEWAL_S)
            leases = list(self._leases.items())
            for start in range(0, len(leases), _BATCH):
                some = leases[start : start + _BATCH]
                keys = [key for (_, key), _ in some]
                with suppress(StoreUnavailableError):
                    await self._store.run(RENEW, keys, [argument for _, each in some for argument in each])

    async def _until_taken(self, keys: Sequence[bytes], arguments: Sequence[bytes | int]) -> None:
        while True:
            try:
                await self._store.run(SETTLE, keys, arguments)
            except StoreUnavailableError:
                await asyncio.sleep(_RETRY_S)
            else:
                return


def _arguments(each: Settlement) -> tuple[bytes | int, ...]:
    meter = each.meter
    return meter.kind.value.encode(), each.taken, each.used, each.limit, meter.span, each.mark, each.lease.encode()
