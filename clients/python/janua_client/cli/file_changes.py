"""Whether the files behind `-f` have changed since the last look: by path, time and size, without reading them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from janua_client.cli.failures import CommandError
from janua_client.cli.sources import find_files

_Look: TypeAlias = "dict[Path, tuple[int, int]] | str"


class FileChanges:
    """Compares what is there with what was there at the last look."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._last = self._look()

    def seen(self) -> bool:
        """Whether anything has come, gone or changed. The next call compares with this one."""
        now = self._look()
        has_changed = now != self._last
        self._last = now
        return has_changed

    def _look(self) -> _Look:
        try:
            stats = [(path, path.stat()) for path in find_files(self._arguments)]
        except (CommandError, OSError) as error:
            return str(error)  # a file that is missing is a state like any other
        return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in stats}
