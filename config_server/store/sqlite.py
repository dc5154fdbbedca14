"""The SQLite backend: every statement, one writer thread, readers apart. Opening stands in `sqlite_file`."""

import asyncio
import queue
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from config_server.resources import Key, Operation, StoredChange, StoredEntry, StoredWorld, digest_of
from config_server.store.base import (
    AnsweredRequest,
    BodyReplacement,
    Commit,
    NodeRow,
    RevisionCompactedError,
    RevisionConflictError,
    RevisionRecord,
    StoreUnavailableError,
)
from config_server.store.rows import ENTRY_COLUMNS, EntryRow, entry_of, micros, moment, row_of
from config_server.store.sqlite_file import (
    damaged_resource,
    locked,
    open_reader,
    open_writer,
    sqlite_path,
    transaction,
)

T = TypeVar("T")

_READERS: Final = 2

_COLUMNS: Final = ", ".join(ENTRY_COLUMNS)
_SELECT_RESOURCES: Final = f"SELECT {_COLUMNS} FROM resources ORDER BY kind, name"
_SELECT_CHANGES: Final = f"""
  SELECT operation, {_COLUMNS} FROM changes WHERE at_revision = ? ORDER BY ordinal"""
_SELECT_RESOURCES_AT: Final = f"""
  SELECT {_COLUMNS} FROM changes AS change
  WHERE operation <> :deleted AND at_revision = (
    SELECT max(at_revision) FROM changes AS other
    WHERE other.kind = change.kind AND other.name = change.name AND other.at_revision <= :revision)
  ORDER BY kind, name"""
# A change is needed at the horizon only if it is the last one up to there and has left something.
_COMPACT_CHANGES: Final = """
  DELETE FROM changes AS change
  WHERE at_revision <= :horizon AND (operation = :deleted OR EXISTS (
    SELECT 1 FROM changes AS other
    WHERE other.kind = change.kind AND other.name = change.name
      AND other.at_revision > change.at_revision AND other.at_revision <= :horizon))"""


@asynccontextmanager
async def open_sqlite(url: str) -> AsyncIterator["SqliteStore"]:
    """Opens, or makes, the store at `sqlite:///PATH` and closes it at the end. Raises StoreError."""
    path = sqlite_path(url)
    with locked(path):
        store = SqliteStore(path, await asyncio.to_thread(open_writer, path))
        try:
            yield store
        finally:
            await store.close()


class SqliteStore:
    """A store in one file.

    A write is durable when its method returns: WAL with `synchronous=FULL` syncs at every commit. SQLite has one
    writer at a time anyway, so one thread with one connection writes; reads never wait for it.
    """

    peers: Final = None

    def __init__(self, path: Path, writer: sqlite3.Connection) -> None:
        self._path = path
        self._writer = writer
        self._writer_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
        self._reader_threads = ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="store-reader")
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for _ in range(_READERS):
            self._readers.put(open_reader(path))

    async def load(self) -> StoredWorld:
        return await self._read(lambda connection: _load(connection, self._path))

    async def commit(self, commit: Commit) -> None:
        await self._write(lambda connection: _commit(connection, commit))

    async def changes_of(self, revision: int) -> Sequence[StoredChange]:
        return await self._read(lambda connection: _changes_of(connection, revision))

    async def entries_at(self, revision: int) -> Mapping[Key, StoredEntry]:
        return await self._read(lambda connection: _entries_at(connection, revision, self._path))

    async def revisions(self, *, before: int | None = None, limit: int) -> Sequence[RevisionRecord]:
        return await self._read(lambda connection: _revisions(connection, before, limit))

    async def horizon(self) -> int:
        return await self._read(_horizon)

    async def replace_bodies(self, kind: int, replaced: BodyReplacement) -> int:
        return await self._write(lambda connection: _replace_bodies(connection, kind, replaced))

    async def compact(self, horizon: int) -> None:
        await self._write(lambda connection: _compact(connection, horizon))

    async def find_request(self, request_id: str, *, not_before: datetime) -> AnsweredRequest | None:
        return await self._read(lambda connection: _find_request(connection, request_id, not_before))

    async def save_request(self, request: AnsweredRequest) -> None:
        await self._write(lambda connection: _save_request(connection, request))

    async def forget_requests(self, *, before: datetime) -> None:
        await self._write(
            lambda connection: connection.execute("DELETE FROM requests WHERE time < ?", (micros(before),))
        )

    async def load_nodes(self) -> Sequence[NodeRow]:
        return await self._read(_load_nodes)

    async def save_nodes(self, changed: Sequence[NodeRow], removed: Sequence[str]) -> None:
        await self._write(lambda connection: _save_nodes(connection, changed, removed))

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._reader_threads.shutdown()
        self._writer_thread.shutdown()
        for _ in range(_READERS):
            self._readers.get().close()
        self._writer.close()

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            connection = self._readers.get()
            try:
                return query(connection)
            except sqlite3.Error as error:
                raise StoreUnavailableError(f"the store cannot be read: {error}") from error
            finally:
                self._readers.put(connection)

        return await asyncio.get_running_loop().run_in_executor(self._reader_threads, run)

    async def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            try:
                return change(self._writer)
            except sqlite3.Error as error:
                raise StoreUnavailableError(f"the store cannot be written: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._writer_thread, run)


def _load(connection: sqlite3.Connection, path: Path) -> StoredWorld:
    with _one_moment(connection):
        epoch, revision, horizon = connection.execute("SELECT epoch, revision, horizon FROM meta").fetchone()
        rows = connection.execute(_SELECT_RESOURCES).fetchall()
    return StoredWorld(epoch=epoch, revision=revision, entries=_checked(rows, path), horizon=horizon)


@contextmanager
def _one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """All statements within see the same state."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def _checked(rows: Iterable[EntryRow], path: Path) -> Mapping[Key, StoredEntry]:
    entries = {}
    for row in rows:
        entry = entry_of(row)
        if digest_of(entry.body) != entry.digest:
            raise damaged_resource(path, *entry.key)
        entries[entry.key] = entry
    return entries


def _commit(connection: sqlite3.Connection, commit: Commit) -> None:
    with transaction(connection):
        # First of all: whoever holds the counter's row decides the order of commits.
        ((revision,),) = connection.execute("UPDATE meta SET revision = revision + 1 RETURNING revision").fetchall()
        if revision != commit.revision:
            raise RevisionConflictError(f"planned for revision {commit.revision}, the store would make {revision}")
        connection.execute(
            "INSERT INTO revisions VALUES (?, ?, ?, ?)",
            (revision, micros(commit.time), commit.author, commit.message),
        )
        _write_changes(connection, commit)
        if commit.request is not None:
            _save_request(connection, commit.request)


def _write_changes(connection: sqlite3.Connection, commit: Commit) -> None:
    connection.executemany(
        "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (commit.revision, ordinal, int(change.operation), *row_of(change.entry))
            for ordinal, change in enumerate(commit.changes)
        ),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row_of(change.entry) for change in commit.changes if change.operation is not Operation.DELETED),
    )
    connection.executemany(
        "DELETE FROM resources WHERE kind = ? AND name = ?",
        (change.entry.key for change in commit.changes if change.operation is Operation.DELETED),
    )


def _changes_of(connection: sqlite3.Connection, revision: int) -> Sequence[StoredChange]:
    with _one_moment(connection):
        horizon = _horizon(connection)
        rows = connection.execute(_SELECT_CHANGES, (revision,)).fetchall()
    if 0 < revision <= horizon:
        raise RevisionCompactedError.of_changes(revision, horizon)
    return tuple(StoredChange(operation=Operation(row[0]), entry=entry_of(row[1:])) for row in rows)


def _entries_at(connection: sqlite3.Connection, revision: int, path: Path) -> Mapping[Key, StoredEntry]:
    with _one_moment(connection):
        horizon = _horizon(connection)
        if revision < horizon:
            raise RevisionCompactedError.of_content(revision, horizon)
        rows = connection.execute(_SELECT_RESOURCES_AT, {"revision": revision, "deleted": Operation.DELETED}).fetchall()
    return _checked(rows, path)


def _revisions(connection: sqlite3.Connection, before: int | None, limit: int) -> Sequence[RevisionRecord]:
    rows = connection.execute(
        "SELECT revision, author, message, time FROM revisions WHERE ?1 IS NULL OR revision < ?1"
        " ORDER BY revision DESC LIMIT ?2",
        (before, limit),
    )
    return tuple(
        RevisionRecord(revision=revision, author=author, message=message, time=moment(time))
        for revision, author, message, time in rows
    )


def _compact(connection: sqlite3.Connection, horizon: int) -> None:
    with transaction(connection):
        if horizon <= _horizon(connection):
            return
        connection.execute("UPDATE meta SET horizon = ?", (horizon,))
        connection.execute(_COMPACT_CHANGES, {"horizon": horizon, "deleted": Operation.DELETED})


def _replace_bodies(connection: sqlite3.Connection, kind: int, replaced: BodyReplacement) -> int:
    count = 0
    with transaction(connection):
        for table in ("resources", "changes"):
            rows = connection.execute(f"SELECT rowid, kind, name, body FROM {table} WHERE kind = ?", (kind,)).fetchall()
            for rowid, kind_, name, body in rows:
                if (new := replaced(Key(kind_, name), body)) is not None:
                    statement = f"UPDATE {table} SET body = ?, digest = ? WHERE rowid = ?"
                    connection.execute(statement, (new, digest_of(new), rowid))
                    count += 1
    return count


def _horizon(connection: sqlite3.Connection) -> int:
    ((horizon,),) = connection.execute("SELECT horizon FROM meta").fetchall()
    return int(horizon)


def _find_request(connection: sqlite3.Connection, request_id: str, not_before: datetime) -> AnsweredRequest | None:
    row = connection.execute(
        "SELECT digest, response, time FROM requests WHERE request_id = ? AND time >= ?",
        (request_id, micros(not_before)),
    ).fetchone()
    if row is None:
        return None
    return AnsweredRequest(request_id=request_id, digest=row[0], response=row[1], time=moment(row[2]))


def _save_request(connection: sqlite3.Connection, request: AnsweredRequest) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?)",
        (request.request_id, request.digest, request.response, micros(request.time)),
    )


def _load_nodes(connection: sqlite3.Connection) -> Sequence[NodeRow]:
    rows = connection.execute("SELECT node_id, record FROM nodes ORDER BY node_id")
    return tuple(NodeRow(node_id=node_id, record=record) for node_id, record in rows)


def _save_nodes(connection: sqlite3.Connection, changed: Sequence[NodeRow], removed: Sequence[str]) -> None:
    with transaction(connection):
        connection.executemany(
            "INSERT OR REPLACE INTO nodes VALUES (?, ?)", ((row.node_id, row.record) for row in changed)
        )
        connection.executemany("DELETE FROM nodes WHERE node_id = ?", ((node_id,) for node_id in removed))
