"""Least request."""

import math
from collections.abc import Collection, Sequence
from random import Random
from typing import Generic

from gateway.upstream.balancing.draw import draw_two
from gateway.upstream.balancing.host import H
from gateway.upstream.balancing.schedule import Schedule


class LeastRequest(Generic[H]):
    """Prefers hosts with few requests in flight.

    With equal weights: of `choice_count` hosts drawn at random the one with the fewest ("the power of two choices").
    With unequal ones: turns as in round robin, where a host's share is weight / (in flight + 1) ^ bias. As in Envoy.
    """

    def __init__(self, random: Random, *, choice_count: int = 2, active_request_bias: float = 1.0) -> None:
        self._random = random
        self._choice_count = choice_count
        self._bias = active_request_bias
        self._hosts: Sequence[H] = ()
        self._schedule: Schedule[H] | None = None

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts from now on."""
        self._hosts = hosts
        if len({host.weight for host in hosts}) <= 1:
            self._schedule = None
            return
        if self._schedule is None:
            self._schedule = Schedule(self._random, self._share)
        self._schedule.update(hosts)

    def _share(self, host: H) -> float:
        return host.weight / math.pow(host.active_requests + 1, self._bias)

    def pick(self, key: int | None, exclude: Collection[H]) -> H | None:
        """The least busy of those drawn, or the one whose turn it is."""
        if self._schedule is not None:
            return self._schedule.next(exclude)
        hosts = [host for host in self._hosts if host not in exclude] if exclude else self._hosts
        if len(hosts) <= 1:
            return hosts[0] if hosts else None
        if self._choice_count == 2:
            one, other = draw_two(hosts, self._random)
            return other if other.active_requests < one.active_requests else one
        drawn = self._random.sample(hosts, min(self._choice_count, len(hosts)))
        return min(drawn, key=lambda host: host.active_requests)
