"""Connecting to PostgreSQL: address, checks, schema. Whatever is wrong is told in one line, never with the password."""

import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from config_server.store.base import StoreError

Connection: TypeAlias = "asyncpg.Connection[Any]"

SCHEMA_VERSION: Final = 1

_CONNECT_TIMEOUT_S: Final = 10.0
# Of all servers that start at once one makes the schema: "Janu" in ASCII.
_ADVISORY_LOCK: Final = 0x4A616E75

# A statement that takes longer will not end well. A server that is stopped within a transaction must not keep the
# counter's row, and with it all the others, for ever.
_SETTINGS: Final = {
    "application_name": "janua config server",
    "search_path": "janua",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
}

_RESOURCE_COLUMNS: Final = """
  kind integer NOT NULL, name text NOT NULL, body bytea NOT NULL, digest bytea NOT NULL,
  create_revision bigint NOT NULL, revision bigint NOT NULL,
  create_time bigint NOT NULL, update_time bigint NOT NULL,
  author text NOT NULL, set_name text NOT NULL"""

# As in `sqlite_file`; times are microseconds since 1970, UTC. Names are compared byte by byte, as everywhere else.
_SCHEMA: Final = (
    """CREATE TABLE meta (
         only_row integer PRIMARY KEY CHECK (only_row = 1), epoch text NOT NULL, revision bigint NOT NULL,
         schema_version integer NOT NULL, horizon bigint NOT NULL)""",
    f"CREATE TABLE resources ({_RESOURCE_COLUMNS}, PRIMARY KEY (kind, name))",
    f"""CREATE TABLE changes (
         at_revision bigint NOT NULL, ordinal integer NOT NULL, operation integer NOT NULL, {_RESOURCE_COLUMNS},
         PRIMARY KEY (at_revision, ordinal))""",
    "CREATE INDEX changes_key ON changes (kind, name, at_revision)",
    """CREATE TABLE revisions (
         revision bigint PRIMARY KEY, time bigint NOT NULL, author text NOT NULL, message text NOT NULL)""",
    """CREATE TABLE requests (
         request_id text PRIMARY KEY, digest bytea NOT NULL, response bytea NOT NULL, time bigint NOT NULL)""",
    "CREATE INDEX requests_time ON requests (time)",
    # What each server knows of its nodes, and when it was last heard of: the clock is the database's.
    """CREATE TABLE nodes (
         replica text NOT NULL, node_id text NOT NULL, record bytea NOT NULL, written timestamptz NOT NULL,
         PRIMARY KEY (replica, node_id))""",
    "CREATE INDEX nodes_written ON nodes (written)",
    "CREATE TABLE replicas (replica text PRIMARY KEY, heard timestamptz NOT NULL)",
)

# What makes a schema of each earlier version one of the next.
_UPGRADES: Final[Mapping[int, Sequence[str]]] = MappingProxyType({})


def redacted(url: str) -> str:
    """The address without user, password and settings: `postgresql://HOST:PORT/DATABASE`."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "postgresql://…"
    return f"postgresql://{parts.hostname or ''}{port}{parts.path}"


async def connect_pool(url: str, connections: int) -> "asyncpg.Pool[Any]":
    """Connections to the database, its schema made or brought up to date. Raises StoreError."""
    place = redacted(url)
    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S, server_settings=_SETTINGS)
        try:
            await _prepare(connection, place)
        finally:
            await connection.close(timeout=_CONNECT_TIMEOUT_S)
        return await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=connections,
            timeout=_CONNECT_TIMEOUT_S,
            command_timeout=_CONNECT_TIMEOUT_S * 4,
            server_settings=_SETTINGS,
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        raise StoreError(_explained(error, place)) from error


async def connect(url: str) -> Connection:
    """One connection beside the pool. Raises what asyncpg raises, OSError and TimeoutError."""
    return await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S, server_settings=_SETTINGS)


async def _prepare(connection: Connection, place: str) -> None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _ADVISORY_LOCK)
        if await connection.fetchval("SELECT to_regclass('janua.meta')") is None:
            await _create(connection, place)
        await _upgrade(connection, place)


async def _create(connection: Connection, place: str) -> None:
    if await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'janua')"):
        raise StoreError(f"{place} has a schema `janua` that is not this program's: give --store another database")
    await connection.execute("CREATE SCHEMA janua")
    for statement in _SCHEMA:
        await connection.execute(statement)
    await connection.execute("INSERT INTO meta VALUES (1, $1, 0, $2, 0)", secrets.token_hex(16), SCHEMA_VERSION)


async def _upgrade(connection: Connection, place: str) -> None:
    version = await connection.fetchval("SELECT schema_version FROM meta")
    if version is None:
        raise StoreError(f"{place} is damaged (its table meta is empty): restore it from a backup")
    if version > SCHEMA_VERSION:
        raise StoreError(f"{place} was written by a newer version of Janua: run that version, or a newer one")
    for each in range(version, SCHEMA_VERSION):
        for statement in _UPGRADES[each]:
            await connection.execute(statement)
    if version < SCHEMA_VERSION:
        await connection.execute("UPDATE meta SET schema_version = $1", SCHEMA_VERSION)


def _explained(error: Exception, place: str) -> str:
    """What is wrong and what to do."""
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"{place} refuses the user or password: correct them in --store"
        case asyncpg.InvalidCatalogNameError():
            return f"{place} does not exist: make it with `createdb`, or give --store another database"
        case asyncpg.InsufficientPrivilegeError():
            return f"the user may not make the schema `janua` in {place}: grant CREATE on the database"
        case asyncpg.ReadOnlySQLTransactionError():
            return f"{place} is read-only, perhaps a standby: give --store the primary"
        case asyncpg.PostgresError():
            return f"{place} cannot be used: {_first_line(error)}"
        case OSError() | TimeoutError():
            return f"cannot reach {place}: {_first_line(error) or 'it does not answer'}; is PostgreSQL running there?"
        case _:
            return f"--store {place} cannot be used: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
