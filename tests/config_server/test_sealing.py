"""Secrets at rest: sealed with the first key, opened with any, bound to their place."""

import base64
from pathlib import Path

import pytest
from janua.config.v1.resource_pb2 import KIND_SECRET

from config_server.resources import Key
from config_server.sealing import Sealer, is_sealed, make_key, read_keys
from config_server.store.base import StoreError

KEY, OTHER = Key(KIND_SECRET, "a"), Key(KIND_SECRET, "b")
ONE, TWO = b"1" * 32, b"2" * 32


def test_what_is_sealed_is_opened() -> None:
    sealer = Sealer([ONE])
    sealed = sealer.seal(KEY, b"content")
    assert is_sealed(sealed)
    assert b"content" not in sealed
    assert sealer.open(KEY, sealed) == b"content"
    assert sealer.seal(KEY, b"content") != sealed, "the same content looks different each time"


def test_any_key_opens_and_the_first_seals() -> None:
    old = Sealer([ONE]).seal(KEY, b"content")
    both = Sealer([TWO, ONE])
    assert both.open(KEY, old) == b"content"
    assert not both.is_current(old)
    new = both.seal(KEY, b"content")
    assert both.is_current(new)
    assert Sealer([TWO]).open(KEY, new) == b"content"


@pytest.mark.parametrize("keys", [[], [TWO]])
def test_without_the_key_it_is_said_which_is_missing(keys: list[bytes]) -> None:
    with pytest.raises(StoreError, match="which this server does not have: give it with --encryption-key-file"):
        Sealer(keys).open(KEY, Sealer([ONE]).seal(KEY, b"content"))


def test_what_is_damaged_or_moved_is_not_opened() -> None:
    sealer = Sealer([ONE])
    sealed = sealer.seal(KEY, b"content")
    with pytest.raises(StoreError, match="secret b in the store is damaged"):
        sealer.open(OTHER, sealed)
    for index in range(18, len(sealed)):
        broken = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(StoreError):
            sealer.open(KEY, broken)


def test_keys_are_read_from_a_file_or_a_text(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    words = [base64.b64encode(key).decode() for key in (ONE, TWO)]
    file.write_text("\n".join(words) + "\n")
    assert read_keys(file, "") == [ONE, TWO]
    assert read_keys(None, ",".join(words)) == [ONE, TWO]
    assert read_keys(None, "") == []
    assert len(read_keys(None, make_key())[0]) == 32


@pytest.mark.parametrize("content", ["", "short", base64.b64encode(b"x" * 31).decode(), "ä" * 44, "!" * 44])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(StoreError, match="head -c 32 /dev/urandom") as raised:
        read_keys(file, "")
    assert not content or content not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        read_keys(tmp_path / "absent", "")
