"""Sweeps come when they are due, on a clock that goes on only while the timer sleeps."""

import asyncio
import math
from datetime import UTC, datetime

from gateway.config.upstream import OutlierConfig
from gateway.upstream.ejection_timer import EjectionTimer
from gateway.upstream.outlier_detection import Outcome, OutlierDetector

START = datetime(2030, 1, 1, tzinfo=UTC)


class Timed:
    """A detector of one endpoint under a running timer. The clock also goes on by `tick_s` whenever it is looked at."""

    def __init__(self, *, interval_s: float, base_ejection_time_s: float, tick_s: float = 0.0) -> None:
        self.time_s = 0.0
        self.tick_s = tick_s
        self.naps: list[float] = []
        self.returned_at: list[float] = []
        config = OutlierConfig(
            consecutive_5xx=1,
            interval_s=interval_s,
            base_ejection_time_s=base_ejection_time_s,
            max_ejection_time_s=1000,
        )
        self.detector: OutlierDetector[str] = OutlierDetector(
            config, clock=self._clock, on_change=self._changed, now=lambda: START
        )
        self.detector.set_hosts(["a"])

    def _clock(self) -> float:
        self.time_s += self.tick_s
        return self.time_s

    def _changed(self) -> None:
        if not self.detector.is_ejected("a"):
            self.returned_at.append(self.time_s)

    def eject(self) -> None:
        self.detector.record("a", Outcome.SERVER_ERROR)

    async def run_until(self, time_s: float, *, eject_at: float = math.inf) -> None:
        """Runs a timer until the clock shows that time; at another the endpoint fails."""
        reached = asyncio.Event()

        async def sleep(seconds: float) -> None:
            self.naps.append(seconds)
            end = self.time_s + seconds
            if self.time_s <= eject_at < end:
                self.time_s = eject_at
                self.eject()
            if end > time_s:
                reached.set()
                await asyncio.Event().wait()
            self.time_s = end

        running = asyncio.create_task(EjectionTimer(self.detector, sleep).run())
        await reached.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled()


async def test_an_ejection_ends_when_its_time_is_over() -> None:
    timed = Timed(interval_s=10, base_ejection_time_s=3.1)
    timed.eject()
    await timed.run_until(9)
    (returned_at,) = timed.returned_at
    assert 3.1 <= returned_at < 3.11


async def test_an_ejection_that_begins_while_the_timer_sleeps_ends_soon_after_its_time() -> None:
    timed = Timed(interval_s=3600, base_ejection_time_s=0.1)
    await timed.run_until(10, eject_at=5.01)
    (returned_at,) = timed.returned_at
    assert 5.11 <= returned_at <= 5.11 + 0.25


async def test_intervals_end_in_time() -> None:
    timed = Timed(interval_s=1, base_ejection_time_s=30)
    await timed.run_until(10.5)
    assert 10.5 < timed.detector.next_sweep() <= 11.05


async def test_the_timer_never_spins_not_even_when_it_is_late_all_the_time() -> None:
    timed = Timed(interval_s=0.01, base_ejection_time_s=0.005, tick_s=0.02)
    timed.eject()
    await timed.run_until(1)
    assert timed.naps
    assert all(nap >= 0.001 for nap in timed.naps)
