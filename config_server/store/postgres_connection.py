"""Connections to PostgreSQL, and what is wrong with them: told in one line, and never with the password."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import asyncpg

from config_server.store.base import OutcomeUnknownError, StoreError, StoreUnavailableError

# All that the driver raises when the database, or the way to it, fails.
FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)

Connection: TypeAlias = "asyncpg.Connection[Any]"

READ_ONLY: Final = "is read-only, perhaps a standby: give --store the primary"

_READERS: Final = 3
_WRITERS: Final = 3  # the one in line, the one that commits or asks where the store is, and one for nodes
_CONNECT_TIMEOUT_S: Final = 10.0
_ACQUIRE_TIMEOUT_S: Final = 5.0
# The database gives up first, so that it is known then that nothing was changed.
_COMMAND_TIMEOUT_S: Final = 20.0
_CLOSE_TIMEOUT_S: Final = 5.0

# A statement that takes longer will not end well. A server that is stopped within a transaction must not keep the
# counter's row, and with it all the others, for ever. Whatever the database is set to: who waits for that row must see
# it as it is then.
_SETTINGS: Final = {
    "application_name": "janua config server",
    "search_path": "janua",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "15s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "10s",
}

_HOSTS: Final = re.compile(r"[\w.,:\[\]%-]*")


def redacted(url: str) -> str:
    """The address without user, password and settings: `postgresql://HOST:PORT/DATABASE`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "postgresql://…"
    hosts = parts.netloc.rpartition("@")[2]
    # An unescaped password may have ended the host too early: then nothing of it can be told apart from the host.
    if "@" in parts.path + parts.query + parts.fragment or not _HOSTS.fullmatch(hosts):
        return "postgresql://…"
    return f"postgresql://{hosts}{parts.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """Connections apart, so that a write never waits for reads."""

    reading: "asyncpg.Pool[Any]"
    writing: "asyncpg.Pool[Any]"

    async def close(self) -> None:
        """Ends the connections, at once if they do not end by themselves."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await asyncio.gather(self.reading.close(), self.writing.close())
        except TimeoutError:
            self.reading.terminate()
            self.writing.terminate()


@asynccontextmanager
async def acquired(pool: "asyncpg.Pool[Any]") -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[Any]"]:
    """A connection of the pool. One that did not answer in time, or was left within a statement, is broken off: to have
    the statement cancelled would mean to wait for the database once more."""
    connection = await pool.acquire(timeout=_ACQUIRE_TIMEOUT_S)
    try:
        yield connection
    except (TimeoutError, OutcomeUnknownError, asyncio.CancelledError):
        break_off(connection)
        raise
    finally:
        # What was committed is committed, even if the connection fails on its way back.
        with suppress(*FAILURES):
            await pool.release(connection, timeout=_ACQUIRE_TIMEOUT_S)


def break_off(connection: "asyncpg.pool.PoolConnectionProxy[Any]") -> None:
    """Ends a connection at once, unless it has ended by itself."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection for as long as the context is open. Raises StoreError for whatever fails, within it too."""
    try:
        connection = await connect(url)
        try:
            yield connection
        finally:
            await connection.close(timeout=_CONNECT_TIMEOUT_S)
    except (*FAILURES, ValueError) as error:
        raise StoreError(_explained(error, redacted(url))) from error


async def open_pools(connection: Connection, url: str) -> Pools:
    """Pools beside a connection to the same database. Raises what asyncpg raises, OSError and TimeoutError."""
    durable = await _durable(connection)
    return Pools(reading=await _pool(url, _READERS, durable), writing=await _pool(url, _WRITERS, durable))


async def _pool(url: str, connections: int, settings: Mapping[str, str]) -> "asyncpg.Pool[Any]":
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=connections,
        timeout=_ACQUIRE_TIMEOUT_S,
        command_timeout=_COMMAND_TIMEOUT_S,
        server_settings={**_SETTINGS, **settings},
        reset=_reset,
    )


async def _reset(connection: "asyncpg.Connection[Any]") -> None:
    """Of a connection that goes back to its pool. What a failure has left open asyncpg ends before; the settings of a
    session are never changed, and to have them put back anyway would be one more way to the database for each use."""


async def _durable(connection: Connection) -> Mapping[str, str]:
    """A database may be set to answer before a commit is on the disk; whatever else is set for it stays."""
    is_off = await connection.fetchval("SELECT current_setting('synchronous_commit') = 'off'")
    return {"synchronous_commit": "on"} if is_off else {}


async def connect(url: str) -> Connection:
    """One connection beside the pool. Raises what asyncpg raises, OSError and TimeoutError."""
    return await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S, server_settings=_SETTINGS)


def reason(error: Exception) -> str:
    """Why the database fails, in one line."""
    match error:
        case asyncpg.DiskFullError():
            return "its disk is full"
        case asyncpg.ReadOnlySQLTransactionError():
            return "it is read-only, perhaps a standby"
        case asyncpg.TooManyConnectionsError():
            return "it has no connection left: raise its max_connections, or run fewer config servers"
        case TimeoutError():
            return "it does not answer"
        case _:
            return str(error).partition("\n")[0] or type(error).__name__


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raises StoreUnavailableError for whatever fails. `what`: read or written."""
    try:
        yield
    except FAILURES as error:
        raise StoreUnavailableError(f"the store cannot be {what}: {reason(error)}") from error


def _explained(error: Exception, place: str) -> str:
    """What is wrong and what to do."""
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return f"{place} refuses the user or password: correct them in --store"
        case asyncpg.InvalidCatalogNameError():
            return f"{place} does not exist: make it with `createdb`, or give --store another database"
        case asyncpg.InsufficientPrivilegeError():
            return f"the user lacks rights in {place}: grant CREATE on the database, or all on its schema `janua`"
        case asyncpg.ReadOnlySQLTransactionError():
            return f"{place} {READ_ONLY}"
        case asyncpg.TargetServerAttributeNotMatched():
            return f"none of the servers of {place} is what target_session_attrs in --store asks for"
        case asyncpg.ClientConfigurationError() if not place.endswith("…"):
            return f"--store {place} cannot be used: {reason(error)}"
        case ValueError():
            # The driver's own words may hold a part of the password.
            form = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters of the password as %XX"
            return f"--store {place} cannot be read: it has the form {form}"
        case OSError() | TimeoutError():
            return f"cannot reach {place}: {reason(error)}; is PostgreSQL running there?"
        case _:
            return f"{place} cannot be used: {reason(error)}"
