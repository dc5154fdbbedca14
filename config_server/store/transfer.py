"""Backup, restore and migration of stores, whatever they are in: by way of a file that is checked before it is used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from config_server.store import sqlite_copy
from config_server.store.base import StoreError
from config_server.store.open import is_postgres, redacted_store
from config_server.store.sqlite_copy import Content, Progress
from config_server.store.sqlite_file import locked, sqlite_path


async def backup(url: str, file: Path, progress: Progress) -> Content:
    """Writes all that a store holds into a new file, while servers may run. Raises StoreError; then there is none."""
    partial = sqlite_copy.partial_of(file)
    try:
        await _copy(url, partial, progress)
        content = await asyncio.to_thread(sqlite_copy.checked_copy, partial)
        await asyncio.to_thread(sqlite_copy.publish, partial, file)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {(error.strerror or str(error)).lower()}") from error
    finally:
        await asyncio.to_thread(partial.unlink, missing_ok=True)
    return content


async def restore(file: Path, url: str, progress: Progress, *, replaces: bool) -> Content:
    """Fills a store with what a backup holds. Raises StoreError; then the store is as it was."""
    async with _checked(file) as (copy, content):
        await _put(copy, url, content, progress, replaces=replaces)
    return content


async def migrate(source: str, target: str, progress: Progress, *, replaces: bool) -> Content:
    """Fills a store with what another holds, over which no server may run. Raises StoreError.

    The source stays as it is.
    """
    if redacted_store(source) == redacted_store(target):
        raise StoreError(f"{redacted_store(source)} cannot be migrated to itself")
    with TemporaryDirectory(prefix="janua-store-") as directory:
        file = Path(directory) / "store.db"
        # Held to the end: what a server wrote meanwhile would be lost.
        with nullcontext() if is_postgres(source) else locked(sqlite_path(source)):
            if is_postgres(source):
                await _check_idle(source)
            await _copy(source, file, progress)
            content = await asyncio.to_thread(sqlite_copy.checked_copy, file)
            await _put(file, target, content, progress, replaces=replaces)
    return content


async def _check_idle(url: str) -> None:
    from config_server.store.postgres_copy import running_servers

    if servers := await running_servers(url):
        names = ", ".join(servers)
        raise StoreError(
            f"config servers run over {redacted_store(url)} ({names}): stop them, or what they write is lost"
        )


@asynccontextmanager
async def _checked(file: Path) -> AsyncIterator[tuple[Path, Content]]:
    """A copy of a backup, of the present version and read through. The backup itself is never written to."""
    with TemporaryDirectory(prefix="janua-store-") as directory:
        copy = Path(directory) / file.name
        await asyncio.to_thread(sqlite_copy.copy_file, file, copy)
        yield copy, await asyncio.to_thread(sqlite_copy.checked_copy, copy)


async def _copy(url: str, file: Path, progress: Progress) -> None:
    if is_postgres(url):
        from config_server.store.postgres_copy import dump

        await dump(url, file, progress)
    else:
        await asyncio.to_thread(sqlite_copy.copy_file, sqlite_path(url), file)


async def _put(copy: Path, url: str, content: Content, progress: Progress, *, replaces: bool) -> None:
    if is_postgres(url):
        from config_server.store.postgres_copy import load

        await load(copy, url, content, progress, replaces=replaces)
        return
    path = sqlite_path(url)
    with locked(path):
        try:
            await asyncio.to_thread(sqlite_copy.put_in_place, copy, path, replaces=replaces)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from error
