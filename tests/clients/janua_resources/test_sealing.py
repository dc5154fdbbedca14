"""Content at rest: sealed with the first key, opened with any, bound to its place."""

import base64

import pytest
from janua_resources.sealing import (
    DamagedError,
    NotOpenedError,
    OtherKeyError,
    Sealer,
    SealingKeyError,
    is_sealed,
    make_key,
    read_keys,
)

ONE, TWO = b"1" * 32, b"2" * 32


def test_what_is_sealed_is_opened() -> None:
    sealer = Sealer([ONE])
    sealed = sealer.seal("a", b"content")
    assert is_sealed(sealed)
    assert b"content" not in sealed
    assert sealer.open("a", sealed) == b"content"
    assert sealer.seal("a", b"content") != sealed, "the same content looks different each time"


def test_any_key_opens_and_the_first_seals() -> None:
    old = Sealer([ONE]).seal("a", b"content")
    both = Sealer([TWO, ONE])
    assert both.open("a", old) == b"content"
    assert not both.is_current(old)
    new = both.seal("a", b"content")
    assert both.is_current(new)
    assert Sealer([TWO]).open("a", new) == b"content"


@pytest.mark.parametrize("keys", [[], [TWO]])
def test_without_the_key_it_is_said_which_is_missing(keys: list[bytes]) -> None:
    with pytest.raises(OtherKeyError, match=r"is sealed with the key [0-9a-f]{8}, which is not there"):
        Sealer(keys).open("a", Sealer([ONE]).seal("a", b"content"))
    assert not Sealer([]).can_seal


def test_what_is_damaged_cut_or_moved_is_not_opened() -> None:
    sealer = Sealer([ONE])
    sealed = sealer.seal("a", b"content")
    with pytest.raises(DamagedError):
        sealer.open("b", sealed)
    for index in range(len(sealed)):
        with pytest.raises(NotOpenedError):
            sealer.open("a", sealed[:index])
    for index in range(18, len(sealed)):
        broken = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(NotOpenedError):
            sealer.open("a", broken)


def test_keys_stand_on_lines_or_between_commas() -> None:
    words = [base64.b64encode(key).decode() for key in (ONE, TWO)]
    assert read_keys("\n".join(words) + "\n", "it") == read_keys(",".join(words), "it") == [ONE, TWO]
    assert read_keys("", "it") == []
    assert len(read_keys(make_key(), "it")[0]) == 32


@pytest.mark.parametrize("text", ["short", base64.b64encode(b"x" * 31).decode(), "ä" * 44, "!" * 44])
def test_what_is_no_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SealingKeyError, match=r"^it holds what is no key, .*head -c 32 /dev/urandom") as raised:
        read_keys(f"{make_key()}\n{text}", "it")
    assert text not in str(raised.value)
