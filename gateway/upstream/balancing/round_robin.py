"""Weighted round robin."""

from collections.abc import Collection, Sequence
from random import Random
from typing import Generic

from gateway.upstream.balancing.host import H
from gateway.upstream.balancing.schedule import Schedule


class RoundRobin(Generic[H]):
    """Each host in turn, in proportion to the weights, the turns of a heavy host spread between those of the others."""

    def __init__(self, random: Random) -> None:
        self._schedule: Schedule[H] = Schedule(random, lambda host: host.weight)

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts from now on."""
        self._schedule.update(hosts)

    def pick(self, key: int | None, exclude: Collection[H]) -> H | None:
        """The host whose turn it is."""
        return self._schedule.next(exclude)
