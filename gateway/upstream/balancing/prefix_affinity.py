"""Prefix affinity: where the beginning of a prompt has been, its cache is warm."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Generic

from gateway.upstream.balancing.host import H
from gateway.upstream.balancing.least_request import LeastRequest
from gateway.upstream.balancing.ring import Ring

# A host may have this many requests more than the least busy, and beyond that half as many again: losing a warm cache
# costs about as much as waiting behind a few others.
_GRANTED_LEAD = 4
_LOAD_FACTOR = 1.5
# At least so many hosts stand for all when there are more.
_SAMPLE = 16
_STEPS = 64


class PrefixAffinity(Generic[H]):
    """The same key goes to the same host as long as that has not much more in flight than the others; then to the next
    on a hash ring, which is again the same for all requests of the key. Without a key: least request."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._weights: Mapping[H, float] = {}
        self._hosts: Sequence[H] = ()
        self._ring: Ring[H] = Ring()
        self._without_key: LeastRequest[H] = LeastRequest(random)

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts from now on, with their weights as of now."""
        self._hosts = hosts
        self._weights = {host: host.weight for host in hosts}
        self._ring.update(hosts)
        self._without_key.update(hosts)

    def pick(self, key: int | None, exclude: Collection[H]) -> H | None:
        """The first host of the key that is not too busy."""
        if key is None:
            return self._without_key.pick(None, exclude)
        hosts = [host for host in self._hosts if host not in exclude] if exclude else self._hosts
        if len(hosts) <= 1:
            return hosts[0] if hosts else None
        weights = self._weights
        sample = self._sample(hosts)
        loads = [host.active_requests / weights[host] for host in sample]
        least = min(loads)
        bound = least * _LOAD_FACTOR
        for host in islice(self._ring.hosts_from(key), _STEPS):
            if host.active_requests <= bound * weights[host] + _GRANTED_LEAD and host not in exclude:
                return host
        return sample[loads.index(least)]

    def _sample(self, hosts: Sequence[H]) -> Sequence[H]:
        """Hosts at equal distances, from a random one on."""
        stride = len(hosts) // _SAMPLE
        return hosts if stride <= 1 else hosts[int(self._random.random() * stride) :: stride]
