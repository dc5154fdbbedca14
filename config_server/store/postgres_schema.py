"""The schema `janua` of a PostgreSQL: made by the first server, brought up to date by a newer one."""

import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from config_server.store.base import StoreError
from config_server.store.postgres_connection import READ_ONLY, Connection

SCHEMA_VERSION: Final = 1

# Of all servers that start at once one makes the schema: "Janu" in ASCII.
_ADVISORY_LOCK: Final = 0x4A616E75

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


async def prepare(connection: Connection, place: str) -> None:
    """Makes the schema, or brings it up to date. Raises StoreError, and what asyncpg raises."""
    async with connection.transaction():
        if await connection.fetchval("SELECT current_setting('transaction_read_only') = 'on'"):
            raise StoreError(f"{place} {READ_ONLY}")
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
