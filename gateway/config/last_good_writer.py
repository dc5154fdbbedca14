"""Keeps the copy on disk up to date without writing each change."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gateway.config.last_good import LastGood, LastGoodStore

INTERVAL_S = 1.0
RETRY_S = 30.0

_log = structlog.get_logger("janua.config")


class LastGoodWriter:
    """Writes the latest submission, at most once a second, in a thread; what is left is written when `run` ends.

    A disk that fails is tried again, with the latest then, and its failure logged once until it works.
    """

    def __init__(self, store: LastGoodStore, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._store = store
        self._sleep = sleep
        self._pending: LastGood | None = None
        self._submitted = asyncio.Event()
        self._is_failing = False
        self.failures = 0

    def submit(self, last_good: LastGood) -> None:
        """Replaces what is to be written."""
        self._pending = last_good
        self._submitted.set()

    async def run(self) -> None:
        """Writes until cancelled."""
        try:
            while True:
                await self._submitted.wait()
                self._submitted.clear()
                await self._flush()
                await self._sleep(RETRY_S if self._is_failing else INTERVAL_S)
                if self._pending is not None:
                    self._submitted.set()
        finally:
            await self._flush()

    async def _flush(self) -> None:
        last_good = self._pending
        if last_good is None:
            return
        try:
            await asyncio.to_thread(self._store.save, last_good)
        except OSError as error:
            self._failed(error)
            return
        self._is_failing = False
        if self._pending is last_good:
            self._pending = None

    def _failed(self, error: OSError) -> None:
        self.failures += 1
        if not self._is_failing:
            _log.warning("cannot write the last good configuration: a restart may serve an older one", error=str(error))
        self._is_failing = True
