"""Whether a file has been written since it was read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class FileStamp:
    """Two of one path differ if the file was written, replaced, or went or came in between."""

    identity: tuple[int, int, int, int] | None

    @classmethod
    def of(cls, path: Path) -> Self:
        try:
            found = path.stat()
        except OSError:
            return cls(None)
        return cls((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
