"""Opens the store that an address names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec

from config_server.store.base import Store, StoreError
from config_server.store.sqlite import open_sqlite

_POSTGRES = ("postgresql://", "postgres://")


@asynccontextmanager
async def open_store(url: str, *, replica_id: str) -> AsyncIterator[Store]:
    """`sqlite:///PATH` or `postgresql://…`. Raises StoreError."""
    if not is_postgres(url):
        async with open_sqlite(url) as sqlite:
            yield sqlite
        return
    # Only here: it costs memory and time that a server with SQLite does not need to spend.
    from config_server.store.postgres import open_postgres

    async with open_postgres(url, replica_id=replica_id) as postgres:
        yield postgres


def is_postgres(url: str) -> bool:
    """Whether the store is in PostgreSQL. Raises StoreError if that cannot be used here."""
    if not url.startswith(_POSTGRES):
        return False
    if find_spec("asyncpg") is None:
        raise StoreError("a store in PostgreSQL needs its driver: pip install 'janua[postgres]'")
    return True


def redacted_store(url: str) -> str:
    """The address as it may be shown: without a password."""
    if not url.startswith(_POSTGRES):
        return url
    from config_server.store.postgres_connection import redacted

    return redacted(url)
