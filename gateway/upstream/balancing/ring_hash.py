"""Consistent hashing on a ring."""

from collections.abc import Collection, Sequence
from random import Random
from typing import Generic

from gateway.upstream.balancing.host import H
from gateway.upstream.balancing.ring import Ring


class RingHash(Generic[H]):
    """The same key goes to the same host; when a host goes, only its keys move. Without a key: any host."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._ring: Ring[H] = Ring()

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts from now on."""
        self._ring.update(hosts)

    def pick(self, key: int | None, exclude: Collection[H]) -> H | None:
        """The host of the key."""
        return self._ring.find(self._random.getrandbits(64) if key is None else key, exclude)
