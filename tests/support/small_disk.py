"""A disk that can be filled, or made read-only: a small file system in memory, where this process may mount one."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_SIZE_KB = 4096


class SmallDisk:
    """A file system of 4 MiB at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Takes all the room that is left."""
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while file.write(b"x" * 1024):
                    pass
            except OSError:
                return

    def free(self) -> None:
        """Gives the room back."""
        self._ballast.unlink()

    def make_read_only(self) -> None:
        """Until its end. Files that are open for writing forbid it."""
        _run("mount", "-o", "remount,ro", str(self.path))

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Skips the test where it may not be made."""
    path = tmp_path / "small-disk"
    path.mkdir()
    problem = _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE_KB}k", "janua-test", str(path))
    if problem:
        pytest.skip(f"needs the right to mount a file system: {problem}")
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "--lazy", str(path))


def _run(*command: str) -> str:
    """What went wrong, in one line; nothing if all went well."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or "it failed"
