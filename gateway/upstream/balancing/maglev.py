"""Consistent hashing with Maglev's table (Eisenbud et al., NSDI 2016)."""

from collections.abc import Collection, Sequence
from random import Random
from typing import Generic, TypeAlias

from gateway.upstream.balancing.hashing import stable_hash
from gateway.upstream.balancing.host import H

# Primes. The table has a hundred entries for each host at least, which keeps shares within about one per cent.
_SIZES = (1_021, 4_093, 16_381, 65_537)
_ENTRIES_PER_HOST = 100
# A host that comes and goes, comes back to a table that is there already.
_KEPT_TABLES = 4

_Members: TypeAlias = tuple[tuple[str, int], ...]


class Maglev(Generic[H]):
    """The same key goes to the same host, the shares are more even than those of a ring, and a pick is one look-up;
    when a host goes, a few keys of others move too. Without a key: any host.

    The table is made when it is first needed: some milliseconds for ten hosts, and some hundred for a thousand.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._hosts: Sequence[H] = ()
        self._tables: dict[_Members, list[int]] = {}
        self._table: list[int] | None = None

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

    def _find_table(self) -> list[int]:
        members = tuple((host.address, max(1, round(host.weight))) for host in self._hosts)
        table = self._tables.pop(members, None) or make_table(members)
        self._tables[members] = table
        if len(self._tables) > _KEPT_TABLES:
            del self._tables[next(iter(self._tables))]
        self._table = table
        return table


def make_table(members: Sequence[tuple[str, int]]) -> list[int]:
    """For each entry the index of a member (address, weight). In rounds each member takes the first free entry in its
    own order of them; one of less weight than the heaviest takes part in fewer rounds."""
    wanted = len(members) * _ENTRIES_PER_HOST
    size = next((size for size in _SIZES if size >= wanted), _SIZES[-1])
    heaviest = max(weight for _, weight in members)
    places = [stable_hash(f"{address}/offset".encode()) % size for address, _ in members]
    skips = [stable_hash(f"{address}/skip".encode()) % (size - 1) + 1 for address, _ in members]
    shares = [weight / heaviest for _, weight in members]
    credit = [0.0] * len(members)
    table = [-1] * size
    left = size
    while True:
        for index, share in enumerate(shares):
            credit[index] += share
            if credit[index] < 1:
                continue
            credit[index] -= 1
            place, skip = places[index], skips[index]
            while table[place] >= 0:
                place += skip
                if place >= size:
                    place -= size
            table[place] = index
            places[index] = place
            left -= 1
            if not left:
                return table
