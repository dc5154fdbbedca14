"""The copy on disk: what is saved comes back, and what is damaged never does."""

import hashlib
import stat
import threading
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from janua_resources.sealing import Sealer

from gateway.config.last_good import LastGood, LastGoodStore
from gateway.config.resources import RESOURCE_TYPES, ROUTE, UPSTREAM, ReceivedResource

_RESOURCES = st.builds(
    ReceivedResource,
    st.sampled_from(RESOURCE_TYPES),
    st.text(max_size=20),
    st.text(max_size=20),
    st.binary(max_size=80),
)
_LAST_GOOD = st.builds(
    LastGood,
    st.text(max_size=20),
    st.integers(-(2**63), 2**63 - 1),
    st.lists(_RESOURCES, max_size=20).map(tuple),
)
_SAMPLE = LastGood(
    "epoch-1",
    42,
    (
        ReceivedResource(UPSTREAM, "pool", "hash-1", b"\x0a\x04pool"),
        ReceivedResource(ROUTE, "chat", "hash-2", b"\x0a\x04chat"),
    ),
)

# A saved file is small, and each example has its own name in the one directory.
_IN_ONE_DIRECTORY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def _file(directory: Path) -> Path:
    return directory / "last-good"


def _saved(directory: Path, last_good: LastGood = _SAMPLE) -> bytes:
    LastGoodStore(directory).save(last_good)
    return _file(directory).read_bytes()


@given(last_good=_LAST_GOOD)
@_IN_ONE_DIRECTORY
def test_rule_58_what_is_saved_comes_back(tmp_path: Path, last_good: LastGood) -> None:
    store = LastGoodStore(tmp_path)
    store.save(last_good)
    assert LastGoodStore(tmp_path).load() == last_good


def test_nothing_saved_is_none_without_a_warning(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as log:
        assert LastGoodStore(tmp_path / "not there").load() is None
    assert not log


def test_the_latest_counts(tmp_path: Path) -> None:
    store = LastGoodStore(tmp_path)
    store.save(_SAMPLE)
    store.save(LastGood("epoch-1", 43, ()))
    assert store.load() == LastGood("epoch-1", 43, ())


def test_20000_resources_keep_their_order(tmp_path: Path) -> None:
    resources = tuple(ReceivedResource(ROUTE, f"route-{number}", "v1", b"\x0a\x01a") for number in range(20_000))
    store = LastGoodStore(tmp_path)
    store.save(LastGood("epoch", 1, resources))
    loaded = store.load()
    assert loaded is not None
    assert loaded.resources == resources


def test_file_and_directory_are_private(tmp_path: Path) -> None:
    _saved(tmp_path / "state")
    assert stat.S_IMODE(_file(tmp_path / "state").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_failed_write_leaves_what_was_saved(tmp_path: Path) -> None:
    store = LastGoodStore(tmp_path)
    store.save(_SAMPLE)
    # A directory in the place of the temporary file: nothing can be written.
    (tmp_path / "last-good.tmp").mkdir()
    with pytest.raises(OSError):
        store.save(LastGood("epoch-1", 43, ()))
    assert store.load() == _SAMPLE


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    data = _saved(tmp_path)
    for length in range(len(data)):
        _file(tmp_path).write_bytes(data[:length])
        assert LastGoodStore(tmp_path).load() is None
    assert len(list(tmp_path.glob("last-good.corrupt-*"))) == len(data)


@given(data=st.data())
@_IN_ONE_DIRECTORY
def test_every_flipped_bit_is_noticed(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(_saved(tmp_path))
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    _file(tmp_path).write_bytes(content)
    assert LastGoodStore(tmp_path).load() is None


@given(content=st.binary(max_size=300))
@_IN_ONE_DIRECTORY
def test_any_other_content_is_noticed(tmp_path: Path, content: bytes) -> None:
    _file(tmp_path).write_bytes(content)
    assert LastGoodStore(tmp_path).load() is None


@given(cut=st.integers(10, 400), body=st.binary(max_size=60))
@example(cut=10, body=b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
@_IN_ONE_DIRECTORY
def test_a_matching_checksum_over_other_messages_is_no_licence(tmp_path: Path, cut: int, body: bytes) -> None:
    whole = _saved(tmp_path)
    content = whole[:-32][:cut] + body
    _file(tmp_path).write_bytes(content + hashlib.sha256(content).digest())
    # What passes the checksum may be anything that the format allows, but reading it never raises.
    loaded = LastGoodStore(tmp_path).load()
    assert loaded is None or isinstance(loaded, LastGood)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "too short"),
        (b"x" * 100, "not a file of this kind"),
        (b"JANUALG\n\x00\x63" + b"x" * 100, "format 99, this program reads format 1"),
        (b"JANUALG\n\x00\x01" + b"x" * 100, "the checksum does not match: cut or damaged"),
    ],
)
def test_a_bad_file_is_moved_aside_and_the_log_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    _file(tmp_path).write_bytes(content)
    with structlog.testing.capture_logs() as log:
        assert LastGoodStore(tmp_path).load() is None
        assert LastGoodStore(tmp_path).load() is None
    (entry,) = log
    assert (entry["log_level"], entry["reason"]) == ("warning", reason)
    assert entry["file"] == str(_file(tmp_path))
    assert Path(entry["moved_to"]).read_bytes() == content
    assert entry["moved_to"] == str(tmp_path / "last-good.corrupt-1")


def test_after_a_bad_file_saving_works_again(tmp_path: Path) -> None:
    _file(tmp_path).write_bytes(b"bad")
    store = LastGoodStore(tmp_path)
    assert store.load() is None
    store.save(_SAMPLE)
    assert store.load() == _SAMPLE


def test_a_file_that_cannot_be_read_is_an_error_of_the_machine(tmp_path: Path) -> None:
    _file(tmp_path).mkdir()
    with pytest.raises(IsADirectoryError):
        LastGoodStore(tmp_path).load()


def test_writers_in_several_threads_never_mix(tmp_path: Path) -> None:
    store = LastGoodStore(tmp_path)
    states = [
        LastGood("epoch", revision, tuple(ReceivedResource(ROUTE, f"{revision}-{n}", "v", b"") for n in range(200)))
        for revision in range(8)
    ]
    threads = [threading.Thread(target=store.save, args=(state,)) for state in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.load() in states


def test_with_a_key_it_is_sealed(tmp_path: Path) -> None:
    one, two = Sealer([b"1" * 32]), Sealer([b"2" * 32, b"1" * 32])
    store = LastGoodStore(tmp_path, one)
    store.save(_SAMPLE)
    data = _file(tmp_path).read_bytes()
    assert b"pool" not in data
    assert stat.S_IMODE(_file(tmp_path).stat().st_mode) == 0o600
    assert store.load() == _SAMPLE
    assert LastGoodStore(tmp_path, two).load() == _SAMPLE, "an older key opens"
    LastGoodStore(tmp_path, two).save(_SAMPLE)
    assert LastGoodStore(tmp_path, Sealer([b"2" * 32])).load() == _SAMPLE, "the first seals"


def test_one_that_is_not_sealed_yet_is_read(tmp_path: Path) -> None:
    _saved(tmp_path)
    assert LastGoodStore(tmp_path, Sealer([b"1" * 32])).load() == _SAMPLE


@pytest.mark.parametrize("keys", [[], [b"2" * 32]])
def test_one_sealed_with_another_key_stays_where_it_is(tmp_path: Path, keys: list[bytes]) -> None:
    LastGoodStore(tmp_path, Sealer([b"1" * 32])).save(_SAMPLE)
    with structlog.testing.capture_logs() as log:
        assert LastGoodStore(tmp_path, Sealer(keys)).load() is None
    assert "give it in JANUA_STATE_KEY" in log[0]["reason"]
    assert LastGoodStore(tmp_path, Sealer([b"1" * 32])).load() == _SAMPLE


def test_a_sealed_one_that_is_damaged_is_moved_aside(tmp_path: Path) -> None:
    sealer = Sealer([b"1" * 32])
    LastGoodStore(tmp_path, sealer).save(_SAMPLE)
    data = _file(tmp_path).read_bytes()
    _file(tmp_path).write_bytes(data[:-1])
    with structlog.testing.capture_logs() as log:
        assert LastGoodStore(tmp_path, sealer).load() is None
    assert log[0]["moved_to"]
    assert not _file(tmp_path).exists()
