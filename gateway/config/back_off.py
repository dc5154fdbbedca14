"""How long to wait before the next try."""

from collections.abc import Callable

FLOOR_S = 0.010
CEILING_S = 15.0


class BackOff:
    """Exponential back-off with jitter: the range doubles with each try, up to `CEILING_S` seconds.

    `random` gives a number from 0 to 1. Many nodes that lose one server spread over the whole range.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._limit_s = FLOOR_S

    def next_s(self) -> float:
        """Seconds to wait now."""
        self._limit_s = min(self._limit_s * 2, CEILING_S)
        return FLOOR_S + self._random() * (self._limit_s - FLOOR_S)

    def slow_s(self) -> float:
        """Seconds to wait when a further try is not likely to help."""
        return CEILING_S * (1 + self._random()) / 2

    def reset(self) -> None:
        """Begins anew with the shortest range."""
        self._limit_s = FLOOR_S
