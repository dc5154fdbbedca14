"""A hash ring: hosts stand at many points of a circle, and a key belongs to the next point after it (Karger et al.)."""

from array import array
from bisect import bisect
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Generic

from gateway.upstream.balancing.hashing import stable_hashes
from gateway.upstream.balancing.host import H

# Points per unit of weight; more make the shares more even, and the ring longer.
_POINTS_PER_UNIT = 128
# Of all hosts together: about a megabyte.
_MOST_POINTS = 1 << 16
_POINTS_PER_HASH = 8


class Ring(Generic[H]):
    """Points of hosts on a circle of 64 bits. The same hosts give the same ring on every node, in whatever order.

    Which points a host has follows from its address, and how many from its weight alone: when another host comes or
    goes, only the keys of that one move. Only where all weights together are above 512 do hosts get fewer points the
    more there are; then up to twice as many keys move.
    """

    def __init__(self) -> None:
        self._points = array("Q")
        self._owners: list[H] = []
        self._counts: Mapping[H, int] = {}

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts from now on, with their weights rounded to whole numbers."""
        before, self._counts = self._counts, _point_counts(hosts)
        gone: set[int] = set()
        new: dict[int, H] = {}
        for host, count in before.items():
            gone.update(_points_of(host, self._counts.get(host, 0), count))
        for host, count in self._counts.items():
            new.update(dict.fromkeys(_points_of(host, before.get(host, 0), count), host))
        if not gone and not new:
            return
        placed = [each for each in zip(self._points, self._owners, strict=True) if each[0] not in gone]
        placed += new.items()
        placed.sort(key=itemgetter(0))
        self._points = array("Q", [point for point, _ in placed])
        self._owners = [owner for _, owner in placed]

    def hosts_from(self, key: int) -> Iterator[H]:
        """The host of the key, then those of the points after it all around, each perhaps several times."""
        owners = self._owners
        start = bisect(self._points, key)
        for index in range(start, len(owners)):
            yield owners[index]
        for index in range(start):
            yield owners[index]

    def find(self, key: int, exclude: Collection[H]) -> H | None:
        """The host of the key; of the next point that is not an excluded host's if it is excluded."""
        owners = self._owners
        if not owners:
            return None
        if not exclude:
            return owners[bisect(self._points, key) % len(owners)]
        if all(host in exclude for host in self._counts):
            return None
        return next(host for host in self.hosts_from(key) if host not in exclude)


def _point_counts(hosts: Sequence[H]) -> dict[H, int]:
    """How many points each host has."""
    weights = {host: max(1, round(host.weight)) for host in hosts}
    total = sum(weights.values())
    if total * _POINTS_PER_UNIT <= _MOST_POINTS:
        return {host: weight * _POINTS_PER_UNIT for host, weight in weights.items()}
    return {host: max(1, weight * _MOST_POINTS // total) for host, weight in weights.items()}


def _points_of(host: H, start: int, stop: int) -> Iterator[int]:
    """The points of a host from one number up to another, none if that is not above it."""
    if start >= stop:
        return iter(())
    first = start // _POINTS_PER_HASH
    hashes = (
        stable_hashes(f"{host.address}_{number}".encode()) for number in range(first, -(-stop // _POINTS_PER_HASH))
    )
    skipped = first * _POINTS_PER_HASH
    return islice(chain.from_iterable(hashes), start - skipped, stop - skipped)
