"""A config server that kills itself at a point of its work: `python -m tests.config_server.faults.dying_server POINT …`
with the arguments of the command after it.

Points: `statement:N`, before the N-th statement of the connection that writes to SQLite; `byte:N`, where a file would
come to have more than N bytes, within a write to it; `committed:N`, after the N-th commit, of which nobody knows yet;
`moved-on:N`, when the cache has it too, and nobody was answered.
"""

import os
import resource
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from unittest.mock import patch

from config_server.__main__ import main
from config_server.store.sealed import SealedStore
from config_server.store.sqlite_file import open_writer
from config_server.writer import Writer

T = TypeVar("T")


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives that")


def die_at(point: str) -> None:
    """Prepares this process to end there."""
    what, _, number = point.partition(":")
    countdown = Countdown(int(number))
    match what:
        case "statement":
            patch("config_server.store.sqlite.open_writer", _traced(open_writer, countdown)).start()
        case "byte":
            # Python ignores the signal, and would go on with an error.
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(number), resource.RLIM_INFINITY))
        case "committed":
            patch.object(SealedStore, "commit", _counted(SealedStore.commit, countdown)).start()
        case "moved-on":
            patch.object(Writer, "commit", _counted(Writer.commit, countdown)).start()
        case _:
            raise ValueError(f"{point!r} is no point")


class Countdown:
    def __init__(self, left: int) -> None:
        self._left = left

    def count(self, *_: object) -> None:
        self._left -= 1
        if self._left <= 0:
            die()


def _traced(
    opening: Callable[[Path], sqlite3.Connection], countdown: Countdown
) -> Callable[[Path], sqlite3.Connection]:
    def opened(path: Path) -> sqlite3.Connection:
        connection = opening(path)
        connection.set_trace_callback(countdown.count)
        return connection

    return opened


def _counted(method: Callable[..., Awaitable[T]], countdown: Countdown) -> Callable[..., Awaitable[T]]:
    async def counted(*arguments: Any) -> T:
        result = await method(*arguments)
        countdown.count()
        return result

    return counted


if __name__ == "__main__":
    die_at(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
