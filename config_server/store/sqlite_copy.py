"""Copies of SQLite stores: of one in use, into place of another. A copy is one file, which is also what a backup is."""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import quote

from config_server.resources import LAST_RESOURCE_KIND, digest_of
from config_server.store.base import StoreError
from config_server.store.rows import ENTRY_COLUMNS
from config_server.store.sqlite_file import APPLICATION_ID, damaged_resource, open_writer

# Told of what has been done, in words.
Progress: TypeAlias = Callable[[str], None]

# What a store holds beside its `meta`, by table. Nodes are left out: they tell of themselves when they connect.
TABLES: Final = {
    "resources": ENTRY_COLUMNS,
    "changes": ("at_revision", "ordinal", "operation", *ENTRY_COLUMNS),
    "revisions": ("revision", "time", "author", "message"),
    "requests": ("request_id", "digest", "response", "time"),
}

# Without the records of the server.
COUNT_RESOURCES: Final = f"SELECT count(*) FROM resources WHERE kind <= {LAST_RESOURCE_KIND}"

_PAGES: Final = 2000  # copied between two looks at who else wants to write


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a store holds, in numbers."""

    revision: int
    resources: int

    def __str__(self) -> str:
        return f"revision {self.revision}, {self.resources} resources"


def copy_file(source: Path, target: Path) -> None:
    """Makes `target` a copy of a store that may be in use, as it is at one moment. Raises StoreError."""
    if not source.is_file():
        raise StoreError(f"there is no store at {source}")
    # Made by hand first: SQLite would let the group and others read it.
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        reader = sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)
        writer = sqlite3.connect(target, isolation_level=None)
        try:
            if reader.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
                raise StoreError(f"{source} belongs to another program")
            reader.backup(writer, pages=_PAGES)
            _make_single_file(writer)
        finally:
            writer.close()
            reader.close()
    except sqlite3.Error as error:
        raise StoreError(f"{source} cannot be copied to {target}: {error}") from error


def checked_copy(path: Path) -> Content:
    """Brings a copy up to the present version and reads all of it. Raises StoreError if it is not whole."""
    connection = open_writer(path)
    try:
        for table in ("resources", "changes"):
            for kind, name, body, digest in connection.execute(f"SELECT kind, name, body, digest FROM {table}"):
                if digest_of(body) != digest:
                    raise damaged_resource(path, kind, name)
        _make_single_file(connection)
        return content_of(connection)
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    finally:
        connection.close()


def content_of(connection: sqlite3.Connection) -> Content:
    ((revision,),) = connection.execute("SELECT revision FROM meta").fetchall()
    ((resources,),) = connection.execute(COUNT_RESOURCES).fetchall()
    return Content(revision=revision, resources=resources)


def put_in_place(copy: Path, path: Path, *, replaces: bool) -> None:
    """Makes a checked copy the store at `path`, which nobody uses. Raises StoreError if one is there that holds
    something, unless it `replaces` that."""
    if path.exists():
        check_replaceable(path, replaces=replaces)
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        copy_file(copy, partial)
        _sync(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    _sync(path.parent)


def check_replaceable(path: Path, *, replaces: bool) -> None:
    """Raises StoreError if the store holds something, unless that is to be replaced, or if another program uses it."""
    connection = open_writer(path)
    try:
        content = content_of(connection)
    finally:
        connection.close()
    if content.revision and not replaces:
        raise not_empty(str(path), content)
    log = path.with_name(f"{path.name}-wal")
    if log.exists():  # the last connection that is closed removes it
        raise StoreError(f"{path} is open in another program: close that first")


def not_empty(place: str, content: Content) -> StoreError:
    return StoreError(
        f"{place} holds a configuration already ({content}): give another store, or lose what it holds with "
        "--replace-existing"
    )


def partial_of(file: Path) -> Path:
    """Where to write what becomes a new file when it is whole. Raises StoreError if there is one of that name."""
    if file.exists():
        raise StoreError(f"{file} is there already: give another name")
    partial = file.with_name(f"{file.name}.partial")
    partial.unlink(missing_ok=True)
    return partial


def publish(partial: Path, file: Path) -> None:
    """Gives a finished file its name. Raises StoreError if there is one of that name: none is ever overwritten."""
    _sync(partial)
    try:
        os.link(partial, file)
    except FileExistsError:
        raise StoreError(f"{file} is there already: give another name") from None
    partial.unlink()
    _sync(file.parent)


def _make_single_file(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = DELETE")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
