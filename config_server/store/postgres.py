"""The PostgreSQL backend, which several config servers share: every statement but those of its schema."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, Final

import asyncpg

from config_server.resources import Key, Operation, StoredChange, StoredEntry, StoredWorld, digest_of
from config_server.store.base import (
    AnsweredRequest,
    BodyReplacement,
    Commit,
    NodeRow,
    OutcomeUnknownError,
    RevisionCompactedError,
    RevisionConflictError,
    RevisionRecord,
    StoreError,
)
from config_server.store.postgres_commit import COMMIT, SAVE_REQUEST, commit_arguments, request_row, text
from config_server.store.postgres_connection import Pools, acquired, connected, open_pools, reason, redacted, told
from config_server.store.postgres_peers import PostgresPeers
from config_server.store.postgres_schema import prepare
from config_server.store.rows import ENTRY_COLUMNS, entry_of, micros, moment

_COLUMNS: Final = ", ".join(ENTRY_COLUMNS)
_SELECT_RESOURCES_AT: Final = f"""
  SELECT {_COLUMNS} FROM (
    SELECT DISTINCT ON (kind, name) * FROM changes WHERE at_revision <= $1
    ORDER BY kind, name, at_revision DESC) AS newest
  WHERE operation <> $2"""
# A change is needed at the horizon only if it is the last one up to there and has left something.
_COMPACT_CHANGES: Final = """
  DELETE FROM changes AS change
  WHERE at_revision <= $1 AND (operation = $2 OR EXISTS (
    SELECT 1 FROM changes AS other
    WHERE other.kind = change.kind AND other.name = change.name
      AND other.at_revision > change.at_revision AND other.at_revision <= $1))"""
# No row: there is no revision yet.
_SELECT_CHANGES: Final = f"""
  SELECT horizon, operation, {", ".join(f"changes.{column}" for column in ENTRY_COLUMNS)}
  FROM meta LEFT JOIN changes ON at_revision = $1 ORDER BY ordinal"""
_SAVE_NODE: Final = """
  INSERT INTO nodes VALUES ($1, $2, $3, now()) ON CONFLICT (replica, node_id)
  DO UPDATE SET record = EXCLUDED.record, written = EXCLUDED.written"""


@asynccontextmanager
async def open_postgres(url: str, *, replica_id: str) -> AsyncIterator["PostgresStore"]:
    """Opens the store in a database, making its schema if need be, and closes it at the end. Raises StoreError."""
    # Two servers may have the same name, as on one machine, and one that was started again is another one.
    instance = f"{replica_id}/{secrets.token_hex(4)}"
    async with connected(url) as connection:
        await prepare(connection, redacted(url))
        pools = await open_pools(connection, url)
    store = PostgresStore(url, pools, instance=instance)
    try:
        yield store
    finally:
        await store.close()


class PostgresStore:
    """A store in the schema `janua` of a database. A write is durable when its method returns."""

    def __init__(self, url: str, pools: Pools, *, instance: str) -> None:
        """`instance` is this server among those over the database: no other has ever had that name."""
        self._pools = pools
        self._place = redacted(url)
        self._instance = instance
        self.peers: Final = PostgresPeers(url, pools.writing, instance=instance)

    async def load(self) -> StoredWorld:
        async with self._reading() as connection:
            ((epoch, revision, horizon),) = await connection.fetch("SELECT epoch, revision, horizon FROM meta")
            rows = await connection.fetch(f"SELECT {_COLUMNS} FROM resources")
        return StoredWorld(epoch=epoch, revision=revision, entries=self._checked(rows), horizon=horizon)

    async def commit(self, commit: Commit) -> None:
        arguments = commit_arguments(commit)
        async with self._telling() as connection:
            with _outcome_unknown():
                row = await connection.fetchrow(COMMIT, *arguments)
        if row is None:
            raise RevisionConflictError(f"planned for revision {commit.revision}, which another server has made")

    async def changes_of(self, revision: int) -> Sequence[StoredChange]:
        async with self._asking() as connection:
            rows = await connection.fetch(_SELECT_CHANGES, revision)
        horizon = rows[0]["horizon"] if rows else 0
        if 0 < revision <= horizon:
            raise RevisionCompactedError.of_changes(revision, horizon)
        return tuple(
            StoredChange(operation=Operation(operation), entry=entry_of(tuple(entry)))
            for _, operation, *entry in rows
            if operation is not None
        )

    async def entries_at(self, revision: int) -> Mapping[Key, StoredEntry]:
        async with self._reading() as connection:
            horizon = await connection.fetchval("SELECT horizon FROM meta")
            if revision < horizon:
                raise RevisionCompactedError.of_content(revision, horizon)
            rows = await connection.fetch(_SELECT_RESOURCES_AT, revision, int(Operation.DELETED))
        return self._checked(rows)

    async def revisions(self, *, before: int | None = None, limit: int) -> Sequence[RevisionRecord]:
        async with self._asking() as connection:
            rows = await connection.fetch(
                "SELECT revision, author, message, time FROM revisions WHERE $1::bigint IS NULL OR revision < $1"
                " ORDER BY revision DESC LIMIT $2",
                before,
                limit,
            )
        return tuple(
            RevisionRecord(revision=revision, author=author, message=message, time=moment(time))
            for revision, author, message, time in rows
        )

    async def horizon(self) -> int:
        async with self._asking() as connection:
            return int(await connection.fetchval("SELECT horizon FROM meta"))

    async def replace_bodies(self, kind: int, replaced: BodyReplacement) -> int:
        count = 0
        async with self._writing() as connection:
            # No other server writes meanwhile.
            await connection.execute("SELECT revision FROM meta FOR UPDATE")
            for table in ("resources", "changes"):
                for row in await connection.fetch(f"SELECT ctid, kind, name, body FROM {table} WHERE kind = $1", kind):
                    if (new := replaced(Key(row["kind"], row["name"]), row["body"])) is not None:
                        statement = f"UPDATE {table} SET body = $1, digest = $2 WHERE ctid = $3"
                        await connection.execute(statement, new, digest_of(new), row["ctid"])
                        count += 1
        return count

    async def compact(self, horizon: int) -> None:
        async with self._writing() as connection:
            if await connection.fetchval("SELECT horizon FROM meta FOR UPDATE") < horizon:
                await connection.execute("UPDATE meta SET horizon = $1", horizon)
                await connection.execute(_COMPACT_CHANGES, horizon, int(Operation.DELETED))

    async def find_request(self, request_id: str, *, not_before: datetime) -> AnsweredRequest | None:
        async with self._asking() as connection:
            row = await connection.fetchrow(
                "SELECT digest, response, time FROM requests WHERE request_id = $1 AND time >= $2",
                text(request_id),
                micros(not_before),
            )
        if row is None:
            return None
        return AnsweredRequest(request_id=request_id, digest=row[0], response=row[1], time=moment(row[2]))

    async def save_request(self, request: AnsweredRequest) -> None:
        async with self._telling() as connection:
            await connection.execute(SAVE_REQUEST, *request_row(request))

    async def forget_requests(self, *, before: datetime) -> None:
        async with self._telling() as connection:
            await connection.execute("DELETE FROM requests WHERE time < $1", micros(before))

    async def load_nodes(self) -> Sequence[NodeRow]:
        async with self._asking() as connection:
            rows = await connection.fetch(
                "SELECT node_id, record FROM nodes WHERE replica = $1 ORDER BY node_id", self._instance
            )
        return tuple(NodeRow(node_id=node_id, record=record) for node_id, record in rows)

    async def save_nodes(self, changed: Sequence[NodeRow], removed: Sequence[str]) -> None:
        async with self._writing() as connection:
            await connection.executemany(_SAVE_NODE, [(self._instance, row.node_id, row.record) for row in changed])
            await connection.execute(
                "DELETE FROM nodes WHERE node_id = ANY($1) AND replica = $2", removed, self._instance
            )

    async def close(self) -> None:
        self.peers.close()
        await self._pools.close()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[Any]"]:
        """For one statement, which sees one moment by itself."""
        with told("read"):
            async with acquired(self._pools.reading) as connection:
                yield connection

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[Any]"]:
        """A transaction that sees one moment."""
        async with self._asking() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[Any]"]:
        """For one statement, which is a transaction by itself."""
        with told("written"):
            async with acquired(self._pools.writing) as connection:
                try:
                    yield connection
                except asyncpg.ReadOnlySQLTransactionError:
                    # The primary of before is a standby now: new connections find the one of today.
                    await self._pools.writing.expire_connections()
                    raise

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[Any]"]:
        """A transaction. Raises OutcomeUnknownError if it was lost while it was committed."""
        async with self._telling() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except (TimeoutError, asyncio.CancelledError):
                raise  # and the connection is broken off
            except BaseException:
                if not connection.is_closed():
                    await transaction.rollback()
                raise
            with _outcome_unknown():
                await transaction.commit()

    def _checked(self, rows: Sequence[Any]) -> Mapping[Key, StoredEntry]:
        entries = {}
        for row in rows:
            entry = entry_of(tuple(row))
            if digest_of(entry.body) != entry.digest:
                kind, name = entry.key
                text = f"the content of resource {name!r} of kind {kind} has changed"
                raise StoreError(f"{self._place} is damaged ({text}): restore it from a backup")
            entries[entry.key] = entry
        return entries


@contextmanager
def _outcome_unknown() -> Iterator[None]:
    """Around what commits: raises OutcomeUnknownError if the database is lost meanwhile."""
    try:
        yield
    except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise OutcomeUnknownError(f"the connection was lost within a commit: {reason(error)}") from error
