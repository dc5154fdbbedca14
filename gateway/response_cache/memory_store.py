"""Answers in the memory of one node, on the interface of aiocache: bounded in entries and bytes, which aiocache's own
memory cache is not."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from aiocache.base import SENTINEL, BaseCache
from aiocache.serializers import NullSerializer

# What an entry takes beside its value and its key: two objects' heads, the tuple, the float and the places in the table
# and the list of uses.
_ENTRY_BYTES = 400


class MemoryStore(BaseCache):  # type: ignore[misc]  # aiocache publishes no types
    """Keeps bytes until their time is over, or others need their room: the least recently used go first.

    `max_bytes` bounds the memory that entries take, keys and places included. All methods run without waiting.
    """

    NAME = "bounded-memory"

    def __init__(self, *, max_bytes: int, max_entries: int, clock: Callable[[], float]) -> None:
        super().__init__(serializer=NullSerializer(), timeout=None)
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self.size_bytes = 0
        self._clock = clock
        self._entries: OrderedDict[str, tuple[bytes, float | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    # What aiocache puts around each operation (plugins, time limits) costs more than the operation.

    async def get(self, key: str, *args: Any, **options: Any) -> Any:
        """The value; see aiocache."""
        if args or options or self.plugins:
            return await super().get(key, *args, **options)
        return await self._get(key)

    async def set(self, key: str, value: bytes, ttl: Any = SENTINEL, **options: Any) -> bool:
        """Keeps a value; see aiocache."""
        if options or self.plugins:
            return bool(await super().set(key, value, ttl, **options))
        return await self._set(key, value, None if ttl is SENTINEL else ttl)

    def clear_matching(self, matches: Callable[[str], bool]) -> int:
        """Forgets what has such a key. How many there were."""
        return sum(map(self._remove, list(filter(matches, self._entries))))

    async def _get(self, key: str, encoding: str = "utf-8", _conn: Any = None) -> bytes | None:
        found = self._entries.get(key)
        if found is None:
            return None
        value, ends_at = found
        if ends_at is not None and self._clock() >= ends_at:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return value

    async def _set(
        self, key: str, value: bytes, ttl: float | None = None, _cas_token: Any = None, _conn: Any = None
    ) -> bool:
        self._remove(key)
        size = _size(key, value)
        if size > self.max_bytes:
            return False
        while self._entries and (self.size_bytes + size > self.max_bytes or len(self._entries) >= self.max_entries):
            self._remove(next(iter(self._entries)))
        self._entries[key] = value, None if ttl is None else self._clock() + ttl
        self.size_bytes += size
        return True

    async def _add(self, key: str, value: bytes, ttl: float | None = None, _conn: Any = None) -> bool:
        if await self._get(key) is not None:
            raise ValueError(f"key {key} is there already")
        return await self._set(key, value, ttl)

    async def _delete(self, key: str, _conn: Any = None) -> int:
        return int(self._remove(key))

    async def _exists(self, key: str, _conn: Any = None) -> bool:
        return await self._get(key) is not None

    async def _expire(self, key: str, ttl: float, _conn: Any = None) -> bool:
        value = await self._get(key)
        return value is not None and await self._set(key, value, ttl or None)

    async def _multi_get(self, keys: list[str], encoding: str = "utf-8", _conn: Any = None) -> list[bytes | None]:
        return [await self._get(key) for key in keys]

    async def _multi_set(self, pairs: list[tuple[str, bytes]], ttl: float | None = None, _conn: Any = None) -> bool:
        for key, value in pairs:
            await self._set(key, value, ttl)
        return True

    async def _clear(self, namespace: str | None = None, _conn: Any = None) -> bool:
        self.clear_matching(lambda key: key.startswith(namespace or ""))
        return True

    def _remove(self, key: str) -> bool:
        found = self._entries.pop(key, None)
        if found is None:
            return False
        self.size_bytes -= _size(key, found[0])
        return True


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + _ENTRY_BYTES
