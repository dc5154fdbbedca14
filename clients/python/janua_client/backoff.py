"""How long to wait before the next attempt: exponential back-off with jitter. Pure: randomness is passed in."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Wait n is between a half and the whole of 2^n times `base`, at most `limit`.

    The random half keeps many clients from coming back at once; the other one gives a server time to start.
    """

    base: timedelta = timedelta(milliseconds=100)
    limit: timedelta = timedelta(seconds=5)
    random: Callable[[], float] = random.random  # 0 to 1

    def waits(self) -> Iterator[float]:
        """Yields the waits in seconds, without end."""
        ceiling = self.base.total_seconds()
        limit = self.limit.total_seconds()
        while True:
            ceiling = min(ceiling, limit)
            yield ceiling * (1 + self.random()) / 2
            ceiling *= 2
