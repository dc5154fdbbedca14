"""Sweeps come when they are due, on a clock that goes on only while the timer sleeps."""

import asyncio
from datetime import UTC, datetime

from gateway.config.upstream import OutlierConfig
from gateway.upstream.ejection_timer import EjectionTimer
from gateway.upstream.outlier_detection import Outcome, OutlierDetector

START = datetime(2030, 1, 1, tzinfo=UTC)


class Timed:
    """A detector of one endpoint under a running timer."""

    def __init__(self, *, interval_s: float, base_ejection_time_s: float) -> None:
        self.time_s = 0.0
        self.naps: list[float] = []
        self.returned_at: list[float] = []
        config = OutlierConfig(
            consecutive_5xx=1,
            interval_s=interval_s,
            base_ejection_time_s=base_ejection_time_s,
            max_ejection_time_s=1000,
        )
        self.detector: OutlierDetector[str] = OutlierDetector(
            config, clock=lambda: self.time_s, on_change=self._changed, now=lambda: START
        )
        self.detector.set_hosts(["a"])

    def _changed(self) -> None:
        if not self.detector.is_ejected("a"):
            self.returned_at.append(self.time_s)

    async def run_until(self, time_s: float) -> None:
        """Runs a timer until the clock shows that time."""
        reached = asyncio.Event()

        async def sleep(seconds: float) -> None:
            self.naps.append(seconds)
            if self.time_s + seconds > time_s:
                reached.set()
                await asyncio.Event().wait()
            self.time_s += seconds

        running = asyncio.create_task(EjectionTimer(self.detector, sleep).run())
        await reached.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled()


async def test_an_ejection_ends_when_its_time_is_over() -> None:
    timed = Timed(interval_s=10, base_ejection_time_s=3.1)
    timed.detector.record("a", Outcome.SERVER_ERROR)
    await timed.run_until(9)
    (returned_at,) = timed.returned_at
    assert 3.1 <= returned_at < 3.11


async def test_an_ejection_that_begins_while_the_timer_sleeps_ends_soon_after_its_time() -> None:
    timed = Timed(interval_s=3600, base_ejection_time_s=0.1)
    await timed.run_until(5)
    timed.detector.record("a", Outcome.SERVER_ERROR)
    began = timed.time_s
    await timed.run_until(10)
    (returned_at,) = timed.returned_at
    assert began + 0.1 <= returned_at <= began + 0.1 + 0.25


async def test_intervals_end_in_time() -> None:
    timed = Timed(interval_s=1, base_ejection_time_s=30)
    await timed.run_until(10.5)
    assert 10.5 < timed.detector.next_sweep() <= 11.05


async def test_the_timer_never_spins_and_never_sleeps_long() -> None:
    timed = Timed(interval_s=0.01, base_ejection_time_s=0.005)
    timed.detector.record("a", Outcome.SERVER_ERROR)
    await timed.run_until(1)
    assert timed.naps
    assert all(0.001 <= nap <= 0.25 for nap in timed.naps)
