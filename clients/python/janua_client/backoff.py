"""How long to wait before the next attempt: exponential back-off with full jitter. Pure: randomness is passed in."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Wait n is random between 0 and 2^n times `base`, at most `limit`: many clients must not come back at once."""

    base: timedelta = timedelta(milliseconds=100)
    limit: timedelta = timedelta(seconds=5)
    random: Callable[[], float] = random.random  # 0 to 1

    def waits(self) -> Iterator[float]:
        """Yields the waits in seconds, without end."""
        ceiling = self.base.total_seconds()
        limit = self.limit.total_seconds()
        while True:
            yield self.random() * min(ceiling, limit)
            ceiling = min(2 * ceiling, limit)
