"""The other config servers over the same database: what they have written, and which nodes they serve."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, Final

import asyncpg
import structlog

from config_server.store.base import PeerNode, Position, StoreUnavailableError
from config_server.store.postgres_schema import Connection, connect

CHANNEL: Final = "janua_revision"

# How long a wake-up may stay away: then the database is asked anyway, which shows too whether the connection lives.
_POLL_S: Final = 1.0
_ANSWER_S: Final = 5.0
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 5.0
# A server that says nothing for longer is gone, and its nodes are not connected to it.
_SILENCE: Final = "5 seconds"
# Rows written since so long ago are read again: what is committed late must not be missed.
_OVERLAP: Final = "15 seconds"

_FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class PostgresPeers:
    """Beside the store: for what a server must learn from the others."""

    def __init__(self, url: str, pool: "asyncpg.Pool[Any]", *, replica_id: str) -> None:
        self._url = url
        self._pool = pool
        self._replica = replica_id
        self._has_read_all = False
        self._is_closed = False

    def close(self) -> None:
        self._is_closed = True

    async def position(self) -> Position:
        """Where the store is. Raises StoreUnavailableError."""
        try:
            async with self._pool.acquire() as connection:
                return await _position(connection)
        except _FAILURES as error:
            raise StoreUnavailableError("the store cannot be read") from error

    async def positions(self) -> AsyncIterator[Position]:
        """Where the store is, again and again: when told of a new revision, and every second. Reconnects for ever."""
        wait_s = _FIRST_WAIT_S
        while not self._is_closed:
            try:
                connection = await connect(self._url)
            except _FAILURES as error:
                _log.warning("the store cannot be reached: tried again", after_s=wait_s, error=str(error))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
                continue
            try:
                async for position in _listen(connection):
                    wait_s = _FIRST_WAIT_S
                    yield position
            except _FAILURES as error:
                _log.warning("the connection to the store is lost", error=str(error))
            finally:
                connection.terminate()

    async def say_alive(self) -> None:
        """Tells the others that this server is there. Raises StoreUnavailableError."""
        try:
            async with self._pool.acquire() as connection:
                await connection.execute(
                    "INSERT INTO replicas VALUES ($1, now()) ON CONFLICT (replica) DO UPDATE SET heard = now()",
                    self._replica,
                )
        except _FAILURES as error:
            raise StoreUnavailableError("the store cannot be written") from error

    async def say_gone(self) -> None:
        """Tells the others that this server stops, as far as that can be told."""
        with suppress(*_FAILURES):
            async with self._pool.acquire() as connection:
                await connection.execute("DELETE FROM replicas WHERE replica = $1", self._replica)

    async def nodes(self) -> tuple[Sequence[PeerNode], frozenset[str]]:
        """What the others have lately written of their nodes (at first all), and which of them are there.

        Raises StoreUnavailableError.
        """
        recent = f"AND written > now() - interval '{_OVERLAP}'" if self._has_read_all else ""
        try:
            async with self._pool.acquire() as connection:
                rows = await connection.fetch(
                    f"SELECT replica, node_id, record FROM nodes WHERE replica <> $1 {recent}", self._replica
                )
                alive = await connection.fetch(
                    f"SELECT replica FROM replicas WHERE heard > now() - interval '{_SILENCE}'"
                )
        except _FAILURES as error:
            raise StoreUnavailableError("the store cannot be read") from error
        self._has_read_all = True
        nodes = [PeerNode(replica=replica, node_id=node_id, record=record) for replica, node_id, record in rows]
        return nodes, frozenset(row[0] for row in alive)


async def _listen(connection: Connection) -> AsyncIterator[Position]:
    woken = asyncio.Event()
    await connection.add_listener(CHANNEL, lambda *_: woken.set())
    while True:
        async with asyncio.timeout(_ANSWER_S):
            position = await _position(connection)
        yield position
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_S):
                await woken.wait()
        woken.clear()


async def _position(connection: Any) -> Position:
    ((epoch, revision),) = await connection.fetch("SELECT epoch, revision FROM meta")
    return Position(epoch=epoch, revision=revision)
