"""A PostgreSQL store into a file of the SQLite form, and out of one: the form that backups have."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from config_server.store.base import StoreError
from config_server.store.postgres_connection import connected, redacted
from config_server.store.postgres_peers import ALIVE, CHANNEL
from config_server.store.postgres_schema import SCHEMA_VERSION, prepare
from config_server.store.sqlite_copy import COUNT_RESOURCES, TABLES, Content, Progress, not_empty
from config_server.store.sqlite_file import open_writer, transaction

_BATCH: Final = 2000  # rows


async def running_servers(url: str) -> Sequence[str]:
    """The names of the config servers that are over the database. Raises StoreError."""
    async with connected(url) as connection:
        await _check_is_store(connection, redacted(url))
        rows = await connection.fetch(ALIVE)
    return sorted(row[0].rpartition("/")[0] for row in rows)


async def dump(url: str, path: Path, progress: Progress) -> None:
    """Makes a file of the store as it is at one moment. A standby will do. Raises StoreError."""
    place = redacted(url)
    async with connected(url) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await _check_is_store(connection, place)
        await _take_time(connection)
        file = open_writer(path)
        try:
            with transaction(file):
                meta = await connection.fetchrow("SELECT epoch, revision, horizon FROM meta")
                if meta is None:
                    raise StoreError(f"{place} is damaged (its table meta is empty)")
                file.execute("UPDATE meta SET epoch = ?, revision = ?, horizon = ?", tuple(meta))
                for table, columns in TABLES.items():
                    count = 0
                    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
                    cursor = await connection.cursor(f"SELECT {', '.join(columns)} FROM {table}")
                    while rows := await cursor.fetch(_BATCH):
                        file.executemany(insert, map(tuple, rows))
                        count += len(rows)
                    progress(f"{table}: {count} rows")
        except sqlite3.Error as error:
            raise StoreError(f"{path} cannot be written: {error}") from error
        finally:
            file.close()


async def load(path: Path, url: str, content: Content, progress: Progress, *, replaces: bool) -> None:
    """Fills the database with what a checked copy holds, all of it or nothing. Raises StoreError, also if the database
    holds something, unless that is to be replaced. Servers that run over it begin anew with what is then there."""
    place = redacted(url)
    async with connected(url) as connection:
        await prepare(connection, place)
        async with connection.transaction(isolation="read_committed"):
            await _take_time(connection)
            revision = await connection.fetchval("SELECT revision FROM meta FOR UPDATE")
            if revision and not replaces:
                resources = await connection.fetchval(COUNT_RESOURCES)
                raise not_empty(place, Content(revision=revision, resources=resources))
            file = sqlite3.connect(path)
            try:
                await _replace_all(connection, file, progress)
            finally:
                file.close()
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, str(content.revision))


async def _replace_all(connection: Any, file: sqlite3.Connection, progress: Progress) -> None:
    meta = file.execute("SELECT epoch, revision, horizon FROM meta").fetchone()
    await connection.execute("UPDATE meta SET epoch = $1, revision = $2, horizon = $3", *meta)
    for table, columns in TABLES.items():
        await connection.execute(f"DELETE FROM {table}")
        count = 0
        rows = file.execute(f"SELECT {', '.join(columns)} FROM {table}")
        while batch := rows.fetchmany(_BATCH):
            records = [tuple(map(_storable, row)) for row in batch]
            await connection.copy_records_to_table(table, schema_name="janua", columns=columns, records=records)
            count += len(batch)
        progress(f"{table}: {count} rows")


async def _take_time(connection: Any) -> None:
    """For the transaction: a large store takes longer than what a server does."""
    await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")


def _storable(value: object) -> object:
    """PostgreSQL keeps no NUL in a text."""
    return value.replace("\0", "") if isinstance(value, str) else value


async def _check_is_store(connection: Any, place: str) -> None:
    if await connection.fetchval("SELECT to_regclass('janua.meta')") is None:
        raise StoreError(f"there is no store in {place}")
    version = await connection.fetchval("SELECT schema_version FROM meta")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{place} is of another version of Janua: use that one, or start this one's server over it once"
        )
