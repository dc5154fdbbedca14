"""When a push goes out, by a clock that the test turns."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from config_server.push_schedule import Debounce, PushSchedule
from config_server.revision_signal import RevisionSignal


class Clock:
    """Time that stands still until `turn` moves it to where the next sleeper wakes."""

    def __init__(self) -> None:
        self.now = 100.0
        self._sleepers: asyncio.Queue[tuple[float, asyncio.Event]] = asyncio.Queue()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        await self._sleepers.put((self.now + seconds, woken))
        await woken.wait()

    async def asleep(self) -> tuple[float, asyncio.Event]:
        """Waits until somebody sleeps."""
        async with asyncio.timeout(5):
            return await self._sleepers.get()


class Schedule:
    def __init__(self) -> None:
        self.clock = Clock()
        self.signal = RevisionSignal(0)
        self.pushes: list[float] = []
        self.pushed = asyncio.Event()
        self.schedule = PushSchedule(
            self.signal,
            self._push,
            debounce=Debounce(quiet_s=0.01, longest_s=1.0),
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def _push(self) -> None:
        self.pushes.append(round(self.clock.now - 100, 6))
        self.pushed.set()


@pytest.fixture
async def running() -> AsyncIterator[Schedule]:
    schedule = Schedule()
    task = asyncio.create_task(schedule.schedule.run())
    yield schedule
    schedule.signal.close()
    async with asyncio.timeout(5):
        await task


async def test_a_change_is_pushed_after_10_ms(running: Schedule) -> None:
    running.signal.announce(1)
    wakes, woken = await running.clock.asleep()
    running.signal.announce(1)  # nothing new
    running.clock.now = wakes
    woken.set()
    # It looks once more whether it was quiet, and it was.
    await asyncio.wait_for(running.pushed.wait(), 5)
    assert running.pushes == [0.01]


async def test_changes_that_go_on_are_pushed_after_a_second(running: Schedule) -> None:
    running.signal.announce(1)
    revision = 1
    while not running.pushes:
        wakes, woken = await running.clock.asleep()
        revision += 1
        running.signal.announce(revision)
        running.clock.now = wakes
        woken.set()
        for _ in range(5):
            await asyncio.sleep(0)
    assert running.pushes == [1.0]


async def test_changes_during_a_push_are_pushed_next(running: Schedule) -> None:
    for revision in (1, 2):
        running.pushed.clear()
        running.signal.announce(revision)
        wakes, woken = await running.clock.asleep()
        running.clock.now = wakes
        woken.set()
        await asyncio.wait_for(running.pushed.wait(), 5)
    assert running.pushes == [0.01, 0.02]
