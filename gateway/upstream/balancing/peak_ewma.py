"""Lowest latency."""

from collections.abc import Collection, Sequence
from random import Random
from typing import Generic

from gateway.upstream.balancing.host import H

# What a host that has not answered yet is taken to need, in seconds: enough that it is not flooded while others are
# known to be quick, little enough that it is asked soon.
_UNKNOWN_S = 0.001
# Differences below this are noise.
_LEAST_S = 0.0001


class LowestLatency(Generic[H]):
    """Of two hosts drawn at random the one with the lower cost: latency times (requests in flight + 1) / weight."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._hosts: Sequence[H] = ()

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts from now on."""
        self._hosts = hosts

    def pick(self, key: int | None, exclude: Collection[H]) -> H | None:
        """The cheaper of two."""
        hosts = [host for host in self._hosts if host not in exclude] if exclude else self._hosts
        count = len(hosts)
        if count <= 1:
            return hosts[0] if hosts else None
        first = int(self._random.random() * count)
        second = int(self._random.random() * (count - 1))
        one, other = hosts[first], hosts[second + (second >= first)]
        return other if _cost(other) < _cost(one) else one


def _cost(host: H) -> float:
    latency = host.latency
    seconds = max(latency.value, _LEAST_S) if latency.is_known else _UNKNOWN_S
    return seconds * (host.active_requests + 1) / host.weight
