"""Consistent hashing with Maglev's table (Eisenbud et al., NSDI 2016)."""

from array import array
from collections.abc import Collection, Sequence
from random import Random
from typing import Generic, TypeAlias

from gateway.upstream.balancing.hashing import stable_hash
from gateway.upstream.balancing.host import H

# A prime, so that every step through the table visits all of it. The same for every pool: with another size nearly
# all keys would move. It keeps the shares of a hundred equal hosts within one per cent, and those of a thousand
# within six.
_SIZE = 16_381
# A host that comes and goes, comes back to a table that is there already.
_KEPT_TABLES = 4

_Members: TypeAlias = tuple[tuple[str, int], ...]


class Maglev(Generic[H]):
    """The same key goes to the same host, the shares are more even than those of a ring, and a pick is one look-up;
    when a host goes, a few keys of others move too. Without a key: any host.

    The table is made when it is first needed, which takes some 15 ms.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._hosts: Sequence[H] = ()
        self._tables: dict[_Members, array[int]] = {}
        self._table: array[int] | None = None

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts from now on, with their weights rounded to whole numbers."""
        self._hosts = sorted(hosts, key=lambda host: host.address)
        self._table = None

    def pick(self, key: int | None, exclude: Collection[H]) -> H | None:
        """The host of the key; if it is excluded, that of the next entry of the table that is not."""
        hosts = self._hosts
        if not hosts:
            return None
        table = self._table or self._find_table()
        index = (self._random.getrandbits(64) if key is None else key) % len(table)
        host = hosts[table[index]]
        if host not in exclude:
            return host
        if all(host in exclude for host in hosts):
            return None
        while host in exclude:
            index = (index + 1) % len(table)
            host = hosts[table[index]]
        return host

    def _find_table(self) -> "array[int]":
        members = tuple((host.address, max(1, round(host.weight))) for host in self._hosts)
        table = self._tables.pop(members, None) or make_table(members)
        self._tables[members] = table
        if len(self._tables) > _KEPT_TABLES:
            del self._tables[next(iter(self._tables))]
        self._table = table
        return table


def make_table(members: Sequence[tuple[str, int]]) -> "array[int]":
    """For each entry the index of a member (address, weight). In rounds each member takes the first free entry in its
    own order of them; one of less weight than the heaviest takes part in fewer rounds, and all in the first."""
    weights = [weight for _, weight in members]
    heaviest = max(weights)
    credit = [heaviest - weight for weight in weights]
    places = [stable_hash(f"{address}/offset".encode()) % _SIZE for address, _ in members]
    skips = [stable_hash(f"{address}/skip".encode()) % (_SIZE - 1) + 1 for address, _ in members]
    table = array("I", bytes(_SIZE * array("I").itemsize))
    is_taken = bytearray(_SIZE)
    left = _SIZE
    while True:
        for index, weight in enumerate(weights):
            credit[index] += weight
            if credit[index] < heaviest:
                continue
            credit[index] -= heaviest
            place, skip = places[index], skips[index]
            while is_taken[place]:
                place += skip
                if place >= _SIZE:
                    place -= _SIZE
            is_taken[place] = True
            table[place] = index
            places[index] = place
            left -= 1
            if not left:
                return table
