"""Files that are written as a whole or not at all."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.state_file import move_aside, write_atomically


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_file_and_directory_are_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state" / "file"
    write_atomically(path, [b"one, ", b"two"])
    assert path.read_bytes() == b"one, two"
    assert _mode(path) == 0o600
    assert _mode(path.parent) == 0o700


def test_nothing_else_is_left_in_the_directory(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", [b"one"])
    write_atomically(tmp_path / "file", [b"two"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_failure_in_the_middle_leaves_the_old_content(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"new, "
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    write_atomically(path, [b"old"])
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, chunks())
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_process_left_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not ours")
    (tmp_path / "file.tmp").symlink_to(elsewhere)
    write_atomically(tmp_path / "file", [b"new"])
    assert elsewhere.read_bytes() == b"not ours"
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "file").is_symlink()


def test_a_leftover_that_all_may_read_does_not_lend_its_mode(tmp_path: Path) -> None:
    leftover = tmp_path / "file.tmp"
    leftover.write_bytes(b"half")
    leftover.chmod(0o666)
    write_atomically(tmp_path / "file", [b"new"])
    assert _mode(tmp_path / "file") == 0o600


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file")
    with pytest.raises(OSError):
        write_atomically(tmp_path / "state" / "file", [b"new"])


def test_bad_files_are_moved_aside_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        path.write_bytes(content)
        move_aside(path)
    assert not path.exists()
    assert (tmp_path / "file.corrupt-1").read_bytes() == b"first"
    assert (tmp_path / "file.corrupt-2").read_bytes() == b"second"


def test_a_file_that_cannot_be_moved_aside_is_no_error(tmp_path: Path) -> None:
    assert move_aside(tmp_path / "not there") is None


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_no_file_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        write_atomically(tmp_path / "file", [b"new"])
    assert len(os.listdir("/proc/self/fd")) == before
