"""The other config servers over the same database: what they have written, and which nodes they serve."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final

import asyncpg
import structlog

from config_server.store.base import PeerNode, PeerNodes, Position, StoreUnavailableError
from config_server.store.postgres_connection import FAILURES, Connection, acquired, break_off, connect, reason, told
from config_server.store.rows import moment

CHANNEL: Final = "janua_revision"

# How long a wake-up may stay away: then the database is asked anyway, which shows too whether the connection lives.
_POLL_S: Final = 1.0
_ANSWER_S: Final = 5.0
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 5.0
# A server that says nothing for longer is gone, and its nodes are not connected to it. So is one that was last heard
# later than that from now: it has said nothing since the database's clock was put back.
_SILENCE: Final = "interval '5 seconds'"
# Rows written since so long before are read again: what is committed late must not be missed.
_OVERLAP: Final = "15 seconds"
# How long the nodes of a server that is gone are known, unless another has heard of them since.
_FORGET_AFTER: Final = "7 days"

# An advisory lock that no other program takes: "JanL" in ASCII.
_LINE: Final = 0x4A616E4C

ALIVE: Final = f"SELECT replica FROM replicas WHERE heard > now() - {_SILENCE} AND heard < now() + {_SILENCE}"
_POSITION: Final = """
  SELECT meta.epoch, meta.revision, newest.time, known.time FROM meta
  LEFT JOIN revisions AS newest ON newest.revision = meta.revision
  LEFT JOIN revisions AS known ON known.revision = $1"""
_FORGET: Final = f"""
  DELETE FROM nodes WHERE replica NOT IN ({ALIVE}) AND (
    written < now() - interval '{_FORGET_AFTER}'
    OR EXISTS (SELECT FROM nodes AS other WHERE other.node_id = nodes.node_id AND other.written > nodes.written))"""

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)


class PostgresPeers:
    """Beside the store: for what a server must learn from the others."""

    def __init__(self, url: str, pool: "asyncpg.Pool[Any]", *, instance: str) -> None:
        self._url = url
        self._pool = pool
        self._instance = instance
        self._is_closed = False

    def close(self) -> None:
        self._is_closed = True

    async def position(self, known: int) -> tuple[Position, datetime | None]:
        async with self._told("read") as connection:
            return await _position(connection, known)

    async def positions(self) -> AsyncIterator[Position]:
        wait_s = _FIRST_WAIT_S
        while not self._is_closed:
            try:
                connection = await connect(self._url)
            except FAILURES as error:
                _log.warning("the store cannot be reached: tried again", after_s=wait_s, error=reason(error))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
                continue
            try:
                async for position in _listen(connection):
                    wait_s = _FIRST_WAIT_S
                    yield position
            except (*FAILURES, StoreUnavailableError) as error:
                _log.warning("the connection to the store is lost", error=reason(error))
                await asyncio.sleep(wait_s)
            finally:
                connection.terminate()

    @asynccontextmanager
    async def line(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            with told("written"):
                connection = await held.enter_async_context(acquired(self._pool))
                place = await _stand_in_line(connection)
            try:
                yield
            finally:
                await _leave_line(connection, place)

    async def say_alive(self) -> None:
        async with self._told("written") as connection:
            await connection.execute(
                "INSERT INTO replicas VALUES ($1, now()) ON CONFLICT (replica) DO UPDATE SET heard = now()",
                self._instance,
            )

    async def say_gone(self) -> None:
        with suppress(StoreUnavailableError):
            async with self._told("written") as connection:
                await connection.execute("DELETE FROM replicas WHERE replica = $1", self._instance)

    async def nodes(self, since: datetime | None) -> PeerNodes:
        recent = f"AND ($2::timestamptz IS NULL OR written > $2 - interval '{_OVERLAP}')"
        async with self._told("read") as connection:
            now = await connection.fetchval("SELECT now()")
            if since is not None and now < since:
                since = None  # the clock was put back: what was written since then has an earlier time
            rows = await connection.fetch(
                f"SELECT replica, node_id, record FROM nodes WHERE replica <> $1 {recent}", self._instance, since
            )
            alive = await connection.fetch(ALIVE)
        return PeerNodes(
            nodes=[PeerNode(replica=replica, node_id=node_id, record=record) for replica, node_id, record in rows],
            alive=frozenset(row[0] for row in alive),
            time=now,
        )

    async def forget(self) -> None:
        async with self._told("written") as connection:
            await connection.execute(_FORGET)
            await connection.execute(f"DELETE FROM replicas WHERE heard < now() - interval '{_FORGET_AFTER}'")

    @asynccontextmanager
    async def _told(self, what: str) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[Any]"]:
        with told(what):
            async with acquired(self._pool) as connection, asyncio.timeout(_ANSWER_S):
                yield connection


async def _stand_in_line(connection: "asyncpg.pool.PoolConnectionProxy[Any]") -> "asyncpg.transaction.Transaction":
    """Waits for the head of the line, which is held until the transaction ends: in any case when this server dies."""
    transaction = connection.transaction()
    async with asyncio.timeout(_ANSWER_S):
        await transaction.start()
    try:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LINE)
    except asyncpg.LockNotAvailableError:
        _log.warning("another server does not leave the line of writers: going past it")
    return transaction


async def _leave_line(
    connection: "asyncpg.pool.PoolConnectionProxy[Any]", place: "asyncpg.transaction.Transaction"
) -> None:
    """Never fails: what was done in the meantime is done. A connection that is lost has given up its place already."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            await place.rollback()
    except FAILURES:
        break_off(connection)


async def _listen(connection: Connection) -> AsyncIterator[Position]:
    woken = asyncio.Event()
    await connection.add_listener(CHANNEL, lambda *_: woken.set())
    while True:
        async with asyncio.timeout(_ANSWER_S):
            position, _ = await _position(connection, 0)
        yield position
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_S):
                await woken.wait()
        woken.clear()


async def _position(connection: Any, known: int) -> tuple[Position, datetime | None]:
    row = await connection.fetchrow(_POSITION, known)
    if row is None:
        raise StoreUnavailableError("the store cannot be read: its table meta is empty")
    epoch, revision, time, known_time = row
    return Position(epoch, revision, _moment(time)), _moment(known_time)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else moment(micros)
