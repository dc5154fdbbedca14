"""Sweeps an outlier detector when it is due."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from gateway.upstream.outlier_detection import OutlierDetector

T = TypeVar("T")

# An ejection that begins meanwhile is noticed no later than this after its end.
_LONGEST_SLEEP_S = 0.25


class EjectionTimer(Generic[T]):
    """Runs for as long as `run` does."""

    def __init__(self, detector: OutlierDetector[T], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._detector = detector
        self._sleep = sleep

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            wait_s = self._detector.next_sweep() - self._detector.clock()
            await self._sleep(min(max(wait_s, 0.001), _LONGEST_SLEEP_S))
            if self._detector.clock() >= self._detector.next_sweep():
                self._detector.sweep()
