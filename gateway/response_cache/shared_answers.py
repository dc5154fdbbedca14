"""Answers in the store that the nodes of a fleet share, on the interface of aiocache."""

from typing import Any, Final

from aiocache.base import BaseCache
from aiocache.serializers import NullSerializer

from gateway.shared_store import SharedStore

# With the form of what is kept: nodes that write another do not read it.
_PREFIX: Final = "janua:cache:1:"


class SharedAnswers(BaseCache):  # type: ignore[misc]  # aiocache publishes no types
    """Keeps bytes in the store, which bounds its memory itself. All methods raise `StoreUnavailableError`."""

    NAME = "shared"

    def __init__(self, store: SharedStore) -> None:
        super().__init__(serializer=NullSerializer(), timeout=None)
        self._store = store

    async def clear_matching(self, pattern: str) -> int:
        """Forgets what has a key that matches, with `*` for anything. How many there were."""
        return await self._store.delete_matching(f"{_PREFIX}{pattern}".encode())

    async def _get(self, key: str, encoding: str = "utf-8", _conn: Any = None) -> bytes | None:
        return await self._store.get(_name(key))

    async def _set(
        self, key: str, value: bytes, ttl: float | None = None, _cas_token: Any = None, _conn: Any = None
    ) -> bool:
        assert ttl is not None, "nothing is kept for ever"
        await self._store.set(_name(key), value, ttl)
        return True

    async def _delete(self, key: str, _conn: Any = None) -> int:
        await self._store.delete(_name(key))
        return 1

    async def _clear(self, namespace: str | None = None, _conn: Any = None) -> bool:
        await self.clear_matching(f"{namespace or ''}*")
        return True


def _name(key: str) -> bytes:
    return f"{_PREFIX}{key}".encode()
