"""Opens the SQLite file of a store: lock, checks, schema. Every way it can be unusable is told in one line."""

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from config_server.store.base import OutcomeUnknownError, StoreError

# Marks the file as ours, so that another program's database is never written to: "Janu" in ASCII.
APPLICATION_ID: Final = 0x4A616E75
SCHEMA_VERSION: Final = 2

_BUSY_TIMEOUT_S: Final = 5.0

# What tells of the place where the file is, and nothing of what is in it.
_UNUSABLE: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
    }
)

# Times are microseconds since 1970, UTC. `body` is the serialized resource and `digest` its SHA-256: neither is ever
# made again. A change carries the whole resource, so that a watch can be resumed from any revision.
_RESOURCE_COLUMNS: Final = """
  kind INTEGER NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, digest BLOB NOT NULL,
  create_revision INTEGER NOT NULL, revision INTEGER NOT NULL,
  create_time INTEGER NOT NULL, update_time INTEGER NOT NULL,
  author TEXT NOT NULL, set_name TEXT NOT NULL"""

_SCHEMA: Final = (
    """CREATE TABLE meta (
         only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
         epoch TEXT NOT NULL, revision INTEGER NOT NULL, schema_version INTEGER NOT NULL,
         horizon INTEGER NOT NULL DEFAULT 0) STRICT""",
    f"CREATE TABLE resources ({_RESOURCE_COLUMNS}, PRIMARY KEY (kind, name)) STRICT",
    f"""CREATE TABLE changes (
         at_revision INTEGER NOT NULL, ordinal INTEGER NOT NULL, operation INTEGER NOT NULL, {_RESOURCE_COLUMNS},
         PRIMARY KEY (at_revision, ordinal)) STRICT""",
    """CREATE TABLE revisions (
         revision INTEGER PRIMARY KEY, time INTEGER NOT NULL, author TEXT NOT NULL,
         message TEXT NOT NULL DEFAULT '') STRICT""",
    "CREATE TABLE nodes (node_id TEXT PRIMARY KEY, record BLOB NOT NULL) STRICT",
    """CREATE TABLE requests (
         request_id TEXT PRIMARY KEY, digest BLOB NOT NULL, response BLOB NOT NULL, time INTEGER NOT NULL) STRICT""",
    "CREATE INDEX requests_time ON requests (time)",
    "CREATE INDEX changes_key ON changes (kind, name, at_revision)",
)

# What makes a file of each earlier version one of the next.
_UPGRADES: Final[Mapping[int, Sequence[str]]] = MappingProxyType(
    {
        1: (
            "ALTER TABLE meta ADD COLUMN horizon INTEGER NOT NULL DEFAULT 0",
            "ALTER TABLE revisions ADD COLUMN message TEXT NOT NULL DEFAULT ''",
            "CREATE INDEX changes_key ON changes (kind, name, at_revision)",
        ),
    }
)


def sqlite_path(url: str) -> Path:
    """The path in `sqlite:///PATH`. Raises StoreError for any other URL."""
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path or path == ":memory:":
        raise StoreError(
            f"unsupported store {url!r}: give --store sqlite:///PATH with the path of a file, or postgresql://…"
        )
    return Path(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file beside the database: two servers on one file would not see each other's revisions."""
    # Beside the file itself: whatever links lead to it, there is one lock.
    lock_path = Path(f"{os.path.realpath(path)}.lock")
    try:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot write {lock_path}: {_reason(error)}; give --store a writable path") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"{path} is in use by another config server: stop it, or give --store another path"
            ) from error
        yield
    finally:
        os.close(descriptor)


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes. Makes the database if there is none. Raises StoreError."""
    try:
        # Made by hand first: SQLite would let the group and others read it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        links = path.stat().st_nlink
    except OSError as error:
        raise StoreError(f"cannot write {path}: {_reason(error)}; give --store a writable path") from error
    if links > 1:
        # SQLite writes ahead beside the name it is given: under another name it would not find what was committed.
        raise StoreError(
            f"{path} has {links} names (hard links), by which it would be damaged: remove all but one of them"
        )
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, error) from error
    except StoreError:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    uri = f"file:{quote(str(path))}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Takes the write lock at once: a transaction that begins by reading can fail when it comes to write.

    Raises OutcomeUnknownError if the file failed in the middle of the commit.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        _commit(connection)
    finally:
        # Still open only when something went wrong, the COMMIT itself included.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _commit(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if _code(error) == sqlite3.SQLITE_IOERR:
            # What was written before may be found whole when the file is opened again.
            raise OutcomeUnknownError(f"the store failed within a commit: {error}") from error
        raise


def damaged_resource(path: Path, kind: int, name: str) -> StoreError:
    return _damaged(path, f"the content of resource {name!r} of kind {kind} has changed")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application_id != APPLICATION_ID:
        raise StoreError(f"{path} belongs to another program: give --store another path")
    problems = connection.execute("PRAGMA quick_check(1)").fetchall()
    if problems != [("ok",)]:
        raise _damaged(path, str(problems[0][0]).splitlines()[-1])
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if not tables:
        _create(connection)
    _upgrade(connection, path)


def _create(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES (1, ?, 0, ?, 0)", (secrets.token_hex(16), SCHEMA_VERSION))


def _upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Brings a file of an earlier version up to this one, all of it or nothing."""
    row = connection.execute("SELECT schema_version FROM meta").fetchone()
    if row is None:
        raise _damaged(path, "its meta table is empty")
    if row[0] > SCHEMA_VERSION:
        raise StoreError(f"{path} was written by a newer version of Janua: run that version, or a newer one")
    if row[0] == SCHEMA_VERSION:
        return
    with transaction(connection):
        for version in range(row[0], SCHEMA_VERSION):
            for statement in _UPGRADES[version]:
                connection.execute(statement)
        connection.execute("UPDATE meta SET schema_version = ?", (SCHEMA_VERSION,))


def _unusable(path: Path, error: sqlite3.Error) -> StoreError:
    if _code(error) not in _UNUSABLE:
        return _damaged(path, str(error))
    return StoreError(
        f"{path} cannot be used ({error}): see that its disk has room, can be written, and that no other program "
        "uses the file; then start again"
    )


def _code(error: sqlite3.Error) -> int:
    """The kind of error, without what SQLite adds to it. 0: the error is not of SQLite itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"{path} is damaged or no database ({what}): restore it from a backup, or move it away to begin anew"
    )


def _reason(error: OSError) -> str:
    return (error.strerror or "unknown error").lower()
