"""The meters of one limit by key, in bounded memory."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from gateway.filters.limits.meter import Meter

CAPACITY: Final = 10_000
_LOOKED_AT: Final = 8
REST: Final = "\0"
"""The key of what is counted together. No key of a request is that."""


class MeterTable:
    """Makes a meter when its key comes first, and forgets it some time after it has become idle.

    When all are in use, keys that are not known yet share one meter: they may get less than the limit, and can never,
    by being many, get round it.
    """

    __slots__ = ("_capacity", "_is_tidy", "_make", "_meters", "_rest")

    def __init__(self, make: Callable[[str], Meter], *, capacity: int = CAPACITY) -> None:
        self._make = make
        self._capacity = capacity
        self._meters: dict[str, Meter] = {}
        self._rest = make(REST)
        self._is_tidy = True

    def __len__(self) -> int:
        return len(self._meters)

    def get(self, key: str) -> Meter:
        """The meter of a key."""
        meter = self._meters.get(key)
        if meter is None:
            self._is_tidy = False
            if len(self._meters) >= self._capacity:
                return self._rest
            meter = self._meters[key] = self._make(key)
        return meter

    def items(self) -> Iterator[tuple[str, Meter]]:
        """All keys with their meters."""
        yield from self._meters.items()
        yield REST, self._rest

    def tidy(self, now: float) -> None:
        """Forgets some that are idle, if new ones have come. Not while anybody is about to use one that was given out.

        More are looked at than most requests make: idle ones go faster than new ones come, and no request pays much.
        """
        if self._is_tidy:
            return
        self._is_tidy = True
        for key in list(islice(self._meters, _LOOKED_AT)):
            meter = self._meters.pop(key)
            if not meter.is_idle(now):
                self._meters[key] = meter
