"""Lowest latency."""

from collections.abc import Collection, Sequence
from random import Random
from typing import Generic

from gateway.upstream.balancing.draw import draw_two
from gateway.upstream.balancing.host import H

# Differences below this, in seconds, are noise. It is also what a host that has never been asked is taken to need, so
# that it is asked soon.
_LEAST_S = 0.0001
# What a host is taken to need that has been asked and has not answered yet: others go first until it has.
_UNANSWERED_S = 1000.0


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
        if len(hosts) <= 1:
            return hosts[0] if hosts else None
        one, other = draw_two(hosts, self._random)
        return other if _cost(other) < _cost(one) else one


def _cost(host: H) -> float:
    latency = host.latency
    if latency.is_known:
        seconds = max(latency.value, _LEAST_S)
    else:
        seconds = _UNANSWERED_S if host.active_requests else _LEAST_S
    return seconds * (host.active_requests + 1) / host.weight
