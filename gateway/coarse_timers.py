"""Time limits that are many and seldom pass: every request has some, and hardly any is ever reached.

A timer of the event loop each would cost more than the rest of a request's bookkeeping. These share one that looks
at all of them a few times a second, so they are up to `COARSE_S` late. Short limits get a timer of their own.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self
from weakref import WeakKeyDictionary

COARSE_S = 0.05
_EXACT_BELOW_S = 1.0


class Cancellable(Protocol):
    """Something that is due at some time, unless it is cancelled before."""

    def cancel(self) -> None:
        """Keeps it from happening. May be called twice, and after it has happened."""


class CoarseTimer:
    """Calls back once, at a time of the event loop's clock or up to `COARSE_S` later.

    Afterwards it has let go of whom it calls, who mostly has it: as a cycle both would stay, with all that hangs on
    them, until the garbage collector comes.
    """

    __slots__ = ("_timers", "callback", "when")

    def __init__(self, timers: "CoarseTimers", when: float, callback: Callable[[], None]) -> None:
        self._timers = timers
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Keeps it from calling. May be called twice, and after it has called."""
        self._timers.pending.discard(self)
        self.callback = None


class CoarseTimers:
    """The coarse timers of one event loop. Idle while there are none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.pending: set[CoarseTimer] = set()
        self._is_ticking = False

    def call_at(self, when: float, callback: Callable[[], None]) -> CoarseTimer:
        """Has it called at that time."""
        timer = CoarseTimer(self, when, callback)
        self.pending.add(timer)
        if not self._is_ticking:
            self._is_ticking = True
            self._loop.call_later(COARSE_S, self._tick)
        return timer

    def _tick(self) -> None:
        now = self._loop.time()
        for timer in [timer for timer in self.pending if timer.when <= now]:
            callback = timer.callback
            timer.cancel()
            if callback is not None:  # one before it may have cancelled it
                callback()
        self._is_ticking = bool(self.pending)
        if self._is_ticking:
            self._loop.call_later(COARSE_S, self._tick)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, CoarseTimers] = WeakKeyDictionary()


def call_about(when: float, callback: Callable[[], None]) -> Cancellable:
    """Has it called at that time of the running loop's clock, a little late if it is more than a second away."""
    loop = asyncio.get_running_loop()
    if when - loop.time() < _EXACT_BELOW_S:
        return loop.call_at(when, callback)
    return coarse_timers(loop).call_at(when, callback)


def coarse_timers(loop: asyncio.AbstractEventLoop) -> CoarseTimers:
    """The coarse timers of a loop."""
    timers = _of_loops.get(loop)
    if timers is None:
        timers = _of_loops[loop] = CoarseTimers(loop)
    return timers


class TimeLimit:
    """Within this block the current task is cancelled at that time of the event loop's clock, and the block then raises
    `TimeoutError`: `asyncio.timeout_at` for times that are coarse when they are far away."""

    __slots__ = ("_cancellations", "_is_over", "_task", "_timer", "_when")

    def __init__(self, when: float) -> None:
        self._when = when
        self._is_over = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit is for a task")
        self._task = task
        self._cancellations = task.cancelling()
        self._timer = call_about(self._when, self._end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # Somebody else may have cancelled the task as well; then it ends as cancelled.
        if self._is_over and self._task.uncancel() <= self._cancellations and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()
