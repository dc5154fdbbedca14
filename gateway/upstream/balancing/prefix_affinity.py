"""Prefix affinity: where the beginning of a prompt has been, its cache is warm."""

from collections.abc import Collection, Sequence
from random import Random
from typing import Generic

from gateway.upstream.balancing.host import H
from gateway.upstream.balancing.least_request import least_of_drawn
from gateway.upstream.balancing.ring import Ring

# A host may have this many requests more than the least busy, and beyond that half as many again: losing a warm cache
# costs about as much as waiting behind a few others.
_GRANTED_LEAD = 4
_LOAD_FACTOR = 1.5
# How many hosts stand for all when there are more.
_SAMPLE = 16
_STEPS = 64


class PrefixAffinity(Generic[H]):
    """The same key goes to the same host as long as that has not much more in flight than the others; then to the next
    on a hash ring, which is again the same for all requests of the key. Without a key: least request."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._hosts: Sequence[H] = ()
        self._ring: Ring[H] = Ring()

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts from now on."""
        self._hosts = hosts
        self._ring.update(hosts)

    def pick(self, key: int | None, exclude: Collection[H]) -> H | None:
        """The first host of the key that is not too busy."""
        hosts = [host for host in self._hosts if host not in exclude] if exclude else self._hosts
        if len(hosts) <= 1:
            return hosts[0] if hosts else None
        if key is None:
            return least_of_drawn(hosts, 2, self._random)
        sample = hosts if len(hosts) <= _SAMPLE else self._random.choices(hosts, k=_SAMPLE)
        least = min(sample, key=_load)
        bound = _load(least) * _LOAD_FACTOR
        for _, host in zip(range(_STEPS), self._ring.hosts_from(key), strict=False):
            if host not in exclude and host.active_requests <= bound * host.weight + _GRANTED_LEAD:
                return host
        return least


def _load(host: H) -> float:
    return host.active_requests / host.weight
