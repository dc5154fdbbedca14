"""The PostgreSQL backend, which several config servers share: every statement but those of its schema."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
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
from config_server.store.postgres_connection import Pools, acquired, connected, open_pools, reason, redacted, told
from config_server.store.postgres_peers import CHANNEL, PostgresPeers
from config_server.store.postgres_schema import prepare
from config_server.store.rows import ENTRY_COLUMNS, entry_of, micros, moment, row_of

_COLUMNS: Final = ", ".join(ENTRY_COLUMNS)
_SELECT_RESOURCES_AT: Final = f"""
  SELECT {_COLUMNS} FROM (
    SELECT DISTINCT ON (kind, name) * FROM changes WHERE at_revision <= $1
    ORDER BY kind, name, at_revision DESC) AS newest
  WHERE operation <> $2"""
_UPSERT: Final = f"""
  INSERT INTO resources ({_COLUMNS}) VALUES ({", ".join(f"${number}" for number in range(1, len(ENTRY_COLUMNS) + 1))})
  ON CONFLICT (kind, name) DO UPDATE SET {", ".join(f"{column} = EXCLUDED.{column}" for column in ENTRY_COLUMNS[2:])}"""
# A change is needed at the horizon only if it is the last one up to there and has left something.
_COMPACT_CHANGES: Final = """
  DELETE FROM changes AS change
  WHERE at_revision <= $1 AND (operation = $2 OR EXISTS (
    SELECT 1 FROM changes AS other
    WHERE other.kind = change.kind AND other.name = change.name
      AND other.at_revision > change.at_revision AND other.at_revision <= $1))"""
_SAVE_REQUEST: Final = """
  INSERT INTO requests VALUES ($1, $2, $3, $4) ON CONFLICT (request_id)
  DO UPDATE SET digest = EXCLUDED.digest, response = EXCLUDED.response, time = EXCLUDED.time"""
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
        async with self._writing() as connection:
            # First of all: whoever holds the counter's row decides the order of commits.
            revision = await connection.fetchval("UPDATE meta SET revision = revision + 1 RETURNING revision")
            if revision != commit.revision:
                raise RevisionConflictError(f"planned for revision {commit.revision}, the store would make {revision}")
            await connection.execute(
                "INSERT INTO revisions VALUES ($1, $2, $3, $4)",
                revision,
                micros(commit.time),
                _text(commit.author),
                _text(commit.message),
            )
            await _write_changes(connection, commit)
            if commit.request is not None:
                await connection.execute(_SAVE_REQUEST, *_request_row(commit.request))
            # Told to the others when this is committed, and not if it is not.
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, str(revision))

    async def changes_of(self, revision: int) -> Sequence[StoredChange]:
        async with self._reading() as connection:
            horizon = await connection.fetchval("SELECT horizon FROM meta")
            rows = await connection.fetch(
                f"SELECT operation, {_COLUMNS} FROM changes WHERE at_revision = $1 ORDER BY ordinal", revision
            )
        if 0 < revision <= horizon:
            raise RevisionCompactedError(revision, horizon)
        return tuple(StoredChange(operation=Operation(row[0]), entry=entry_of(tuple(row)[1:])) for row in rows)

    async def entries_at(self, revision: int) -> Mapping[Key, StoredEntry]:
        async with self._reading() as connection:
            horizon = await connection.fetchval("SELECT horizon FROM meta")
            if revision < horizon:
                raise RevisionCompactedError(revision, horizon)
            rows = await connection.fetch(_SELECT_RESOURCES_AT, revision, int(Operation.DELETED))
        return self._checked(rows)

    async def revisions(self, *, before: int | None = None, limit: int) -> Sequence[RevisionRecord]:
        async with self._reading() as connection:
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
        async with self._reading() as connection:
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
        async with self._reading() as connection:
            row = await connection.fetchrow(
                "SELECT digest, response, time FROM requests WHERE request_id = $1 AND time >= $2",
                _text(request_id),
                micros(not_before),
            )
        if row is None:
            return None
        return AnsweredRequest(request_id=request_id, digest=row[0], response=row[1], time=moment(row[2]))

    async def save_request(self, request: AnsweredRequest) -> None:
        async with self._writing() as connection:
            await connection.execute(_SAVE_REQUEST, *_request_row(request))

    async def forget_requests(self, *, before: datetime) -> None:
        async with self._writing() as connection:
            await connection.execute("DELETE FROM requests WHERE time < $1", micros(before))

    async def load_nodes(self) -> Sequence[NodeRow]:
        async with self._reading() as connection:
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
    async def _reading(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[Any]"]:
        """A transaction that sees one moment."""
        with told("read"):
            async with (
                acquired(self._pools.reading) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                yield connection

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[Any]"]:
        """A transaction. Raises OutcomeUnknownError if it was lost while it was committed."""
        with told("written"):
            async with acquired(self._pools.writing) as connection:
                # Whatever the database is set to: who waits for the counter's row must see it as it is then.
                transaction = connection.transaction(isolation="read_committed")
                await transaction.start()
                try:
                    yield connection
                except (TimeoutError, asyncio.CancelledError):
                    raise  # and the connection is broken off
                except BaseException as error:
                    if not connection.is_closed():
                        await transaction.rollback()
                    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                        # The primary of before is a standby now: new connections find the one of today.
                        await self._pools.writing.expire_connections()
                    raise
                await _commit(transaction)

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


async def _commit(transaction: "asyncpg.transaction.Transaction") -> None:
    try:
        await transaction.commit()
    except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise OutcomeUnknownError(f"the connection was lost within a commit: {reason(error)}") from error


async def _write_changes(connection: "asyncpg.pool.PoolConnectionProxy[Any]", commit: Commit) -> None:
    await connection.copy_records_to_table(
        "changes",
        schema_name="janua",
        columns=("at_revision", "ordinal", "operation", *ENTRY_COLUMNS),
        records=[
            (commit.revision, ordinal, int(change.operation), *_clean_row(change.entry))
            for ordinal, change in enumerate(commit.changes)
        ],
    )
    kept = [_clean_row(change.entry) for change in commit.changes if change.operation is not Operation.DELETED]
    gone = [tuple(change.entry.key) for change in commit.changes if change.operation is Operation.DELETED]
    if kept:
        await connection.executemany(_UPSERT, kept)
    if gone:
        await connection.executemany("DELETE FROM resources WHERE kind = $1 AND name = $2", gone)


def _clean_row(entry: StoredEntry) -> tuple[Any, ...]:
    *columns, author, set_name = row_of(entry)
    return (*columns, _text(author), set_name)


def _request_row(request: AnsweredRequest) -> tuple[Any, ...]:
    return (_text(request.request_id), request.digest, request.response, micros(request.time))


def _text(text: str) -> str:
    """What people write, without the one character that PostgreSQL cannot keep."""
    return text.replace("\0", "")
