"""How long an endpoint takes, from what it took: peaks count at once, improvements little by little."""

import math
from collections.abc import Callable

_DECAY_S = 10.0


class PeakEwma:
    """An exponentially weighted moving average of latency, in seconds, that follows peaks at once.

    A server that has become slow is noticed with its first slow answer; one that has become fast again must prove it
    for about `decay_s`. The idea is Finagle's. Without new answers the value decays, so that an endpoint that nobody
    asks because it was slow gets another chance.
    """

    __slots__ = ("_clock", "_decay_s", "_observed_at", "_value")

    def __init__(self, *, clock: Callable[[], float], decay_s: float = _DECAY_S) -> None:
        self._clock = clock
        self._decay_s = decay_s
        self._value = 0.0
        self._observed_at: float | None = None

    def observe(self, latency_s: float) -> None:
        """Takes one more answer into account."""
        now = self._clock()
        if self._observed_at is None or latency_s >= self._value:
            self._value = latency_s
        else:
            old = math.exp(-(now - self._observed_at) / self._decay_s)
            self._value = self._value * old + latency_s * (1 - old)
        self._observed_at = now

    @property
    def is_known(self) -> bool:
        """Whether there has been an answer at all."""
        return self._observed_at is not None

    @property
    def value(self) -> float:
        """Seconds, as of now; 0 before the first answer."""
        if self._observed_at is None:
            return 0.0
        return self._value * math.exp(-(self._clock() - self._observed_at) / self._decay_s)

    @property
    def last(self) -> float:
        """Seconds, as of the last answer; what people want to read."""
        return self._value
