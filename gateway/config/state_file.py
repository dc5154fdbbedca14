"""Files of the state directory: private, written as a whole or not at all, moved aside when they are bad."""

import os
from collections.abc import Iterable
from itertools import count
from pathlib import Path


def write_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Replaces the file by one with this content, on disk when this returns.

    Makes the directory (0700) if it is not there; the file is 0600. On an error the file is as it was before; raises
    OSError. One writer at a time.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        _write(temporary, chunks)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _write(path: Path, chunks: Iterable[bytes]) -> None:
    # What a killed process left there may have another mode, or be a link.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_aside(path: Path) -> Path | None:
    """Renames a bad file to `NAME.corrupt-N`, N free, to be looked at. None if that is not possible."""
    for number in count(1):
        aside = path.with_name(f"{path.name}.corrupt-{number}")
        if not aside.exists():
            break
    try:
        return path.rename(aside)
    except OSError:
        return None
