"""Answers in the memory of one node, on the interface of aiocache: bounded in entries and bytes, which aiocache's own
memory cache is not. Some can be found by the vectors of what was asked, too."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from aiocache.base import BaseCache
from aiocache.serializers import NullSerializer

from gateway.response_cache.vectors import Place, Vector

# What an entry takes beside its value and its key: two objects' heads, the tuple, the float and the places in the table
# and the list of uses.
_ENTRY_BYTES = 400

# What a place takes beside its vector: three objects' heads, the partition's name and table, and the place in it.
_PLACE_BYTES = 800


class _Entry(NamedTuple):
    value: bytes
    ends_at: float | None
    place: Place | None


class MemoryStore(BaseCache):  # type: ignore[misc]  # aiocache publishes no types
    """Keeps bytes until their time is over, or others need their room: the least recently used go first.

    `max_bytes` bounds the memory that entries take, keys and places included. All methods run without waiting; `find`
    and `keep` are aiocache's `get` and `set` without what it puts around each operation, which costs more than they do.
    """

    NAME = "bounded-memory"

    def __init__(self, *, max_bytes: int, max_entries: int, clock: Callable[[], float]) -> None:
        super().__init__(serializer=NullSerializer(), timeout=None)
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self.size_bytes = 0
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._partitions: dict[str, dict[str, Vector]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: str) -> bytes | None:
        """The value, if there is one."""
        found = self._entries.get(key)
        if found is None:
            return None
        if found.ends_at is not None and self._clock() >= found.ends_at:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        if found.place is not None:
            partition = self._partitions[found.place.partition]
            partition[key] = partition.pop(key)
        return found.value

    def keep(self, key: str, value: bytes, ttl: float | None, place: Place | None = None) -> bool:
        """Keeps a value for so long, in seconds, None for ever; at a place, it can be found there, too. Whether there
        is room."""
        self._remove(key)
        entry = _Entry(value, None if ttl is None else self._clock() + ttl, place)
        size = _size(key, entry)
        if size > self.max_bytes:
            return False
        while self._entries and (self.size_bytes + size > self.max_bytes or len(self._entries) >= self.max_entries):
            self._remove(next(iter(self._entries)))
        self._entries[key] = entry
        self.size_bytes += size
        if place is not None:
            self._take_place(key, place)
        return True

    def places(self, partition: str, *, ends_after: float) -> list[tuple[str, Vector]]:
        """Where the values of a partition are whose time is over later than that, and under which keys; the most
        recently used first."""
        entries = self._entries
        return [
            (key, vector)
            for key, vector in reversed(self._partitions.get(partition, {}).items())
            if (ends_at := entries[key].ends_at) is not None and ends_at > ends_after
        ]

    def clear_matching(self, matches: Callable[[str], bool]) -> int:
        """Forgets what has such a key. How many there were."""
        return sum(map(self._remove, list(filter(matches, self._entries))))

    async def _get(self, key: str, encoding: str = "utf-8", _conn: Any = None) -> bytes | None:
        return self.find(key)

    async def _set(
        self, key: str, value: bytes, ttl: float | None = None, _cas_token: Any = None, _conn: Any = None
    ) -> bool:
        return self.keep(key, value, ttl)

    async def _add(self, key: str, value: bytes, ttl: float | None = None, _conn: Any = None) -> bool:
        if self.find(key) is not None:
            raise ValueError(f"key {key} is there already")
        return self.keep(key, value, ttl)

    async def _delete(self, key: str, _conn: Any = None) -> int:
        return int(self._remove(key))

    async def _exists(self, key: str, _conn: Any = None) -> bool:
        return self.find(key) is not None

    async def _expire(self, key: str, ttl: float, _conn: Any = None) -> bool:
        value = self.find(key)
        return value is not None and self.keep(key, value, ttl or None)

    async def _multi_get(self, keys: list[str], encoding: str = "utf-8", _conn: Any = None) -> list[bytes | None]:
        return [self.find(key) for key in keys]

    async def _multi_set(self, pairs: list[tuple[str, bytes]], ttl: float | None = None, _conn: Any = None) -> bool:
        for key, value in pairs:
            self.keep(key, value, ttl)
        return True

    async def _clear(self, namespace: str | None = None, _conn: Any = None) -> bool:
        self.clear_matching(lambda key: key.startswith(namespace or ""))
        return True

    def _take_place(self, key: str, place: Place) -> None:
        partition = self._partitions.setdefault(place.partition, {})
        partition[key] = place.vector
        while len(partition) > place.room:
            # The value stays, to be found by its key alone.
            oldest = next(iter(partition))
            del partition[oldest]
            entry = self._entries[oldest]
            self._entries[oldest] = placeless = entry._replace(place=None)
            self.size_bytes += _size(oldest, placeless) - _size(oldest, entry)

    def _remove(self, key: str) -> bool:
        found = self._entries.pop(key, None)
        if found is None:
            return False
        self.size_bytes -= _size(key, found)
        if found.place is not None:
            partition = self._partitions[found.place.partition]
            del partition[key]
            if not partition:
                del self._partitions[found.place.partition]
        return True


def _size(key: str, entry: _Entry) -> int:
    size = len(key) + len(entry.value) + _ENTRY_BYTES
    return size if entry.place is None else size + entry.place.size_bytes + _PLACE_BYTES
