"""A hash ring: hosts stand at many points of a circle, and a key belongs to the next point after it (Karger et al.)."""

from bisect import bisect
from collections.abc import Collection, Iterator, Sequence
from functools import reduce
from math import gcd
from typing import Generic

from gateway.upstream.balancing.hashing import stable_hash
from gateway.upstream.balancing.host import H

# Points per unit of weight; more make the shares more even, and the ring longer.
_POINTS_PER_UNIT = 64
_LEAST_POINTS = 1024
_MOST_POINTS = 1 << 18


class Ring(Generic[H]):
    """Points of hosts on a circle of 64 bits. The same hosts give the same ring on every node, in whatever order.

    The points of a host are the same in every ring, so when another host comes or goes, only its keys move.
    """

    def __init__(self) -> None:
        self._points: list[int] = []
        self._owners: list[H] = []
        self._members: list[tuple[H, int]] = []
        self._known: dict[str, list[int]] = {}

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts from now on, with their weights rounded to whole numbers."""
        weights = [max(1, round(host.weight)) for host in hosts]
        members = list(zip(hosts, weights, strict=True))
        if members == self._members:
            return
        self._members = members
        unit = reduce(gcd, weights, 0) or 1
        per_unit = _points_per_unit(sum(weights) // unit)
        known = self._known
        self._known = {
            host.address: _points_of(host.address, per_unit * weight // unit, known.get(host.address, []))
            for host, weight in members
        }
        placed = sorted(
            ((point, host.address, host) for host in hosts for point in self._known[host.address]),
            key=lambda each: each[:2],
        )
        self._points = [point for point, _, _ in placed]
        self._owners = [host for _, _, host in placed]

    def hosts_from(self, key: int) -> Iterator[H]:
        """The host of the key, then those of the points after it all around, each perhaps several times."""
        owners = self._owners
        start = bisect(self._points, key)
        yield from owners[start : start + 1]
        for index in range(start + 1, len(owners)):
            yield owners[index]
        for index in range(min(start, len(owners))):
            yield owners[index]

    def find(self, key: int, exclude: Collection[H]) -> H | None:
        """The host of the key; of the next point that is not an excluded host's if it is excluded."""
        owners = self._owners
        if not owners:
            return None
        if not exclude:
            return owners[bisect(self._points, key) % len(owners)]
        if all(host in exclude for host, _ in self._members):
            return None
        return next(host for host in self.hosts_from(key) if host not in exclude)


def _points_per_unit(units: int) -> int:
    """A power of two, so that it seldom changes: with it the ring of a small pool is long enough, and that of a large
    one not too long."""
    per_unit = _POINTS_PER_UNIT
    while per_unit * units < _LEAST_POINTS:
        per_unit *= 2
    while per_unit > 1 and per_unit * units > _MOST_POINTS:
        per_unit //= 2
    return per_unit


def _points_of(address: str, count: int, known: list[int]) -> list[int]:
    """The first points of a host; those that were made before are not made again."""
    if count <= len(known):
        return known[:count]
    return known + [stable_hash(f"{address}_{index}".encode()) for index in range(len(known), count)]
