"""A store with sealed secrets: what is below it can neither be read nor guessed."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from janua.config.v1.secret_pb2 import Secret
from janua_resources.sealing import Sealer

from config_server.resources import Operation, StoredChange, StoredEntry, content_digest, encode
from config_server.store.base import AnsweredRequest, Commit, StoreError
from config_server.store.open import open_store
from config_server.store.sealed import SealedStore
from tests.config_server.stored import NOW, stored
from tests.config_server.worlds import secret

ONE, TWO = b"1" * 32, b"2" * 32


@asynccontextmanager
async def sealed(path: Path, *keys: bytes) -> AsyncIterator[SealedStore]:
    async with open_store(f"sqlite:///{path}", replica_id="a") as below:
        yield SealedStore(below, Sealer(keys))


def entry_of(value: str, name: str = "s") -> StoredEntry:
    message = Secret(name=name, value=value)
    return replace(stored(message), digest=content_digest(message, encode(message)))


def commit(base: int, entry: StoredEntry, request: AnsweredRequest | None = None) -> Commit:
    operation = Operation.MODIFIED if base else Operation.ADDED
    change = StoredChange(operation=operation, entry=entry)
    return Commit(base_revision=base, changes=[change], author="", message="", time=NOW, request=request)


def everything_in(directory: Path) -> bytes:
    return b"".join(each.read_bytes() for each in directory.iterdir())


async def test_what_is_below_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    value, asked = "pin-1234", sha256(b"the request with pin-1234").digest()
    request = AnsweredRequest(request_id="id", digest=asked, response=b"answer", time=NOW)
    other = AnsweredRequest(request_id="other", digest=asked, response=b"", time=NOW)
    entry = entry_of(value)
    async with sealed(path, ONE) as store:
        await store.commit(commit(0, entry, request))
        await store.save_request(other)
        assert await store.find_request("id", not_before=NOW) == request
        assert await store.find_request("other", not_before=NOW) == other
        assert (await store.load()).entries == {entry.key: entry}
    kept = everything_in(tmp_path)
    for tell in (value.encode(), sha256(entry.body).digest(), asked, entry.digest):
        assert tell not in kept


async def test_equal_values_look_different(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with sealed(path, ONE) as store:
        for base, name in enumerate("ab"):
            await store.commit(commit(base, entry_of("same", name)))
    rows = sqlite3.connect(path).execute("SELECT body, digest FROM resources").fetchall()
    assert len({body for body, _ in rows}) == len({digest for _, digest in rows}) == 2


async def test_all_that_is_kept_of_the_past_is_sealed_anew(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    first, second = entry_of("first"), replace(entry_of("second"), revision=2)
    async with sealed(path, ONE) as store:
        await store.commit(commit(0, first))
        await store.commit(commit(1, second))
        assert await store.seal_anew() == 0
    async with sealed(path, TWO) as store:
        with pytest.raises(StoreError, match=r"secret s in the store is sealed .* give it with --encryption-key-file"):
            await store.load()
    async with sealed(path, TWO, ONE) as store:
        assert await store.seal_anew() == 3
    async with sealed(path, TWO) as store:
        assert (await store.load()).entries == {second.key: second}
        assert await store.entries_at(1) == {first.key: first}
        assert [change.entry for change in await store.changes_of(2)] == [second]


async def test_a_request_from_before_a_change_of_keys_is_found_as_another(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    request = AnsweredRequest(request_id="id", digest=b"digest", response=b"answer", time=NOW)
    async with sealed(path, ONE) as store:
        await store.save_request(request)
    async with sealed(path, TWO, ONE) as store:
        assert await store.find_request("id", not_before=NOW) == request
    async with sealed(path, TWO) as store:
        found = await store.find_request("id", not_before=NOW)
    assert found is not None
    assert found.digest != request.digest


async def test_what_is_no_secret_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    entry = stored(secret("s"))
    async with sealed(path) as store:
        request = AnsweredRequest(request_id="id", digest=b"digest", response=b"", time=NOW)
        await store.commit(commit(0, entry, request))
        assert await store.find_request("id", not_before=NOW) == request
    async with open_store(f"sqlite:///{path}", replica_id="a") as below:
        assert (await below.load()).entries == {entry.key: entry}


async def test_a_value_moved_to_another_name_does_not_open(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    async with sealed(path, ONE) as store:
        for base, name in enumerate("ab"):
            await store.commit(commit(base, entry_of(f"value of {name}", name)))
    with sqlite3.connect(path) as connection:
        update = "UPDATE resources SET (body, digest) = (SELECT body, digest FROM resources WHERE name = 'a')"
        connection.execute(f"{update} WHERE name = 'b'")
    async with sealed(path, ONE) as store:
        with pytest.raises(StoreError, match="secret b in the store is damaged: restore it from a backup"):
            await store.load()
