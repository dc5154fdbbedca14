"""Opening a SQLite store: every way it can be unusable is one clear line."""

# ruff: noqa: ASYNC240 (nothing else runs beside these tests)

import os
import sqlite3
from pathlib import Path
from typing import cast

import pytest

from config_server.resources import Operation, StoredChange
from config_server.store.base import Commit, OutcomeUnknownError, StoreError
from config_server.store.sqlite import SqliteStore, open_sqlite
from config_server.store.sqlite_file import SCHEMA_VERSION, transaction
from tests.config_server.stored import NOW, stored
from tests.config_server.worlds import upstream


async def open_and_close(path: Path) -> None:
    async with open_sqlite(f"sqlite:///{path}") as store:
        await store.load()


async def fail_to_open(path: Path) -> str:
    """The error's text, which is one line that names the file."""
    with pytest.raises(StoreError) as error:
        await open_and_close(path)
    text = str(error.value)
    assert str(path) in text
    assert "\n" not in text
    return text


async def fill(store: SqliteStore, count: int = 300) -> None:
    changes = [
        StoredChange(operation=Operation.ADDED, entry=stored(upstream(f"u{number}", description="x" * 500)))
        for number in range(count)
    ]
    await store.commit(Commit(base_revision=0, changes=changes, author="", time=NOW))


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with something in it, closed."""
    path = tmp_path / "config.db"
    async with open_sqlite(f"sqlite:///{path}") as store:
        await fill(store)
    return path


@pytest.mark.parametrize(
    "url", ["postgresql://host/db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "config.db", ""]
)
async def test_an_unsupported_url_says_what_is_supported(url: str) -> None:
    with pytest.raises(StoreError, match="sqlite:///PATH"):
        async with open_sqlite(url):
            pass


async def test_a_relative_path_has_three_slashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_sqlite("sqlite:///config.db"):
        assert (tmp_path / "config.db").exists()


async def test_a_new_store_is_private(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    await open_and_close(path)
    assert {file.stat().st_mode & 0o077 for file in tmp_path.iterdir()} == {0}


async def test_it_is_durable_and_written_ahead(path: Path) -> None:
    async with open_sqlite(f"sqlite:///{path}") as store:
        connection = store._writer
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_a_missing_directory(tmp_path: Path) -> None:
    assert "no such file or directory" in await fail_to_open(tmp_path / "nowhere" / "config.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable to root")
async def test_a_directory_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "permission denied" in await fail_to_open(tmp_path / "config.db")


async def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    path.mkdir()
    assert "is a directory" in await fail_to_open(path)


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    path.write_text("upstreams: []\n" * 100)
    assert "restore it from a backup" in await fail_to_open(path)
    assert path.read_text().startswith("upstreams")


async def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    assert "belongs to another program" in await fail_to_open(path)
    assert path.read_bytes() == before


async def test_damaged_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8192:200_000] = os.urandom(200_000 - 8192)
    path.write_bytes(data)
    assert "is damaged" in await fail_to_open(path)


async def test_a_file_that_was_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])
    assert "is damaged" in await fail_to_open(path)


async def test_content_that_changed_under_its_digest(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE resources SET body = x'0a0162' WHERE name = 'u7'")
    connection.close()
    assert "'u7'" in await fail_to_open(path)


async def test_a_store_of_a_newer_version(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET schema_version = ?", (SCHEMA_VERSION + 1,))
    connection.close()
    assert "newer version" in await fail_to_open(path)


async def test_a_second_server_on_one_file(path: Path) -> None:
    async with open_sqlite(f"sqlite:///{path}"):
        assert "in use by another config server" in await fail_to_open(path)
    await open_and_close(path)


async def test_a_second_server_on_one_file_by_another_name(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    async with open_sqlite(f"sqlite:///{path}"):
        assert "in use by another config server" in await fail_to_open(link)
    await open_and_close(link)


async def test_a_file_of_several_names(path: Path) -> None:
    """Each would have a log of its own: what was committed by one name would be lost by the other."""
    other = path.with_name("other.db")
    async with open_sqlite(f"sqlite:///{path}"):
        other.hardlink_to(path)
        assert await fail_to_open(other) == (
            f"{other} has 2 names (hard links), by which it would be damaged: remove all but one of them"
        )
    assert "has 2 names" in await fail_to_open(path)
    other.unlink()
    await open_and_close(path)


async def test_a_file_that_another_program_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config_server.store.sqlite_file._BUSY_TIMEOUT_S", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        text = await fail_to_open(path)
    finally:
        other.close()
    assert "no other program uses the file" in text
    assert "damaged" not in text


class FailingDisk:
    """A connection whose commits end with an error of the file."""

    in_transaction = False

    def __init__(self, code: int) -> None:
        self._code = code

    def execute(self, statement: str) -> None:
        if statement == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self._code
            raise error


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknownError),
        (sqlite3.SQLITE_IOERR_WRITE, OutcomeUnknownError),
        (sqlite3.SQLITE_FULL, sqlite3.OperationalError),
    ],
)
def test_a_commit_that_fails_in_the_middle_may_have_been_done(code: int, raised: type[Exception]) -> None:
    connection = cast("sqlite3.Connection", FailingDisk(code))
    with pytest.raises(raised), transaction(connection):
        pass


async def test_a_store_of_the_first_version_is_brought_up(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP INDEX changes_key")
        connection.execute("ALTER TABLE revisions DROP COLUMN message")
        connection.execute("ALTER TABLE meta DROP COLUMN horizon")
        connection.execute("UPDATE meta SET schema_version = 1")
    connection.close()
    async with open_sqlite(f"sqlite:///{path}") as store:
        world = await store.load()
        assert (world.revision, world.horizon) == (1, 0)
        assert await store.entries_at(1) == world.entries
        assert [record.message for record in await store.revisions(limit=10)] == [""]
