"""A bucket that fills at an even rate, by the generic cell rate algorithm (GCRA): bursts of up to the limit."""

from gateway.filters.limits.meter import NEVER, Reading


class TokenBucket:
    """Holds `limit` when full and gains as much in `window_s`; in t seconds no more than
    `limit * (1 + t / window_s)` is taken.

    All that is kept is the time at which it is full again.
    """

    __slots__ = ("_full_at", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._full_at = 0.0

    def wait(self, now: float, amount: int, limit: int) -> float:
        """Seconds until so much is in the bucket."""
        if amount > limit:
            return NEVER
        return max(0.0, self._after(now, amount, limit) - now - self._window_s)

    def take(self, now: float, amount: int, limit: int) -> int:
        """Takes it out. The mark means nothing."""
        self._full_at = self._after(now, amount, limit)
        return 0

    def settle(self, now: float, mark: int, taken: int, used: int, limit: int) -> None:
        """Puts back what was not used; takes what was used beyond, even if the bucket has not got it."""
        self._full_at = self._after(now, used - taken, limit)

    def read(self, now: float, limit: int) -> Reading:
        """What is in the bucket."""
        reset = max(0.0, self._full_at - now)
        return Reading(max(0, int((self._window_s - reset) * limit / self._window_s + 1e-6)), reset)

    def is_idle(self, now: float) -> bool:
        """Whether it is full."""
        return self._full_at <= now

    def _after(self, now: float, amount: int, limit: int) -> float:
        return max(now, self._full_at) + amount * self._window_s / limit
