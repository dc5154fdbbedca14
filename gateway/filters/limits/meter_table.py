"""The meters of one limit by key, in bounded memory."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from gateway.filters.limits.meter import Meter

CAPACITY: Final = 10_000
REST: Final = "\0"
"""The key of what is counted together. No key of a request is that."""


class MeterTable:
    """Makes a meter when its key comes first, and forgets it some time after it has become idle.

    When all are in use, keys that are not known yet share one meter: they may get less than the limit, and can never,
    by being many, get round it.
    """

    __slots__ = ("_capacity", "_make", "_meters", "_rest")

    def __init__(self, make: Callable[[str], Meter], *, capacity: int = CAPACITY) -> None:
        self._make = make
        self._capacity = capacity
        self._meters: dict[str, Meter] = {}
        self._rest = make(REST)

    def __len__(self) -> int:
        return len(self._meters)

    def get(self, key: str, now: float) -> Meter:
        """The meter of a key."""
        meter = self._meters.get(key)
        if meter is None:
            self._forget(now)
            if len(self._meters) >= self._capacity:
                return self._rest
            meter = self._meters[key] = self._make(key)
        return meter

    def items(self) -> Iterator[tuple[str, Meter]]:
        """All keys with their meters."""
        yield from self._meters.items()
        yield REST, self._rest

    def _forget(self, now: float) -> None:
        # Two are looked at for each new one: idle ones go faster than new ones come, and no request pays for many.
        for key in list(islice(self._meters, 2)):
            meter = self._meters.pop(key)
            if not meter.is_idle(now):
                self._meters[key] = meter
