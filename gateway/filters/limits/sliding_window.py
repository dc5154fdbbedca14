"""A window that slides in steps of a 120th of its length: never over the limit, and 99 % of it under excess."""

from typing import Final

from gateway.filters.limits.meter import NEVER, Reading

STEPS: Final = 120


class SlidingWindow:
    """Counts by steps of time, and takes into account the step of now and the 120 before.

    These cover every window that ends now, however it lies, so no window ever holds more than the limit. What was taken
    is free again one window and at most one step later: 120/121 of the limit is the least that is admitted.
    """

    __slots__ = ("_newest", "_step_s", "_steps", "_total")

    def __init__(self, window_s: float) -> None:
        self._step_s = window_s / STEPS
        self._steps: dict[int, int] = {}  # in the order of time
        self._total = 0
        self._newest = 0

    def _advance(self, now: float) -> int:
        """The step of now, after what is too old was let go."""
        newest = int(now / self._step_s)
        if newest > self._newest:
            self._newest = newest
            steps = self._steps
            while steps and (oldest := next(iter(steps))) < newest - STEPS:
                self._total -= steps.pop(oldest)
        return self._newest

    def wait(self, now: float, amount: int, limit: int) -> float:
        """Seconds until the amount fits."""
        self._advance(now)
        if self._total + amount <= limit:
            return 0.0
        if amount > limit:
            return NEVER
        excess = self._total + amount - limit
        for step, taken in self._steps.items():
            excess -= taken
            if excess <= 0:
                return self._free_at(step) - now
        raise AssertionError("all that is counted stands in a step")

    def take(self, now: float, amount: int, limit: int) -> int:
        """Counts it in the step of now, which is the mark."""
        step = self._advance(now)
        self._steps[step] = self._steps.get(step, 0) + amount
        self._total += amount
        return step

    def settle(self, now: float, mark: int, taken: int, used: int, limit: int) -> None:
        """Gives back where it was taken, if that still counts. What was used beyond is counted now: the window in
        which it was taken may be over."""
        if used > taken:
            self.take(now, used - taken, limit)
            return
        self._advance(now)
        if mark in self._steps:
            self._steps[mark] -= taken - used
            self._total -= taken - used

    def read(self, now: float, limit: int) -> Reading:
        """What is left; all is free when the newest step has left the window."""
        self._advance(now)
        reset = next((self._free_at(step) - now for step, taken in reversed(self._steps.items()) if taken), 0.0)
        return Reading(max(0, limit - self._total), reset)

    def is_idle(self, now: float) -> bool:
        """Whether nothing counts any more."""
        self._advance(now)
        return not self._steps

    def _free_at(self, step: int) -> float:
        return (step + STEPS + 1) * self._step_s
