"""Random choice."""

from bisect import bisect
from collections.abc import Collection, Sequence
from itertools import accumulate
from random import Random
from typing import Generic

from gateway.upstream.balancing.host import H

_TRIES = 4


class RandomChoice(Generic[H]):
    """Any host, with a chance in proportion to its weight. (Envoy's policy of this name does not look at weights.)"""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._hosts: Sequence[H] = ()
        self._sums: Sequence[float] = ()

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts from now on, with their weights as of now."""
        self._hosts = hosts
        self._sums = list(accumulate(host.weight for host in hosts))

    def pick(self, key: int | None, exclude: Collection[H]) -> H | None:
        """A host by chance."""
        if not self._hosts:
            return None
        for _ in range(_TRIES):
            if (host := self._draw()) not in exclude:
                return host
        # So many misses mean that hardly anything is left.
        others = [host for host in self._hosts if host not in exclude]
        return self._random.choices(others, [host.weight for host in others])[0] if others else None

    def _draw(self) -> H:
        sums = self._sums
        return self._hosts[min(bisect(sums, self._random.random() * sums[-1]), len(sums) - 1)]
