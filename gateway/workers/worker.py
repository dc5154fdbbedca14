"""One worker: a node in a process of its own, started again when it dies."""

import asyncio
import json
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog

_log = structlog.get_logger("janua.workers")

# Between a death and the next start, doubling up to the second; one that lived for the third begins with the first.
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 15.0
_LONG_LIFE_S: Final = 60.0


class WorkerFailedError(Exception):
    """A worker has ended before it was ever ready. It has said why on standard error."""


class Worker:
    """Keeps one node process running until told to stop.

    The process holds the reading end of a pipe on its standard input: it drains when that closes, so that it does not
    outlive this one.
    """

    def __init__(
        self,
        index: int,
        command: Sequence[str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.index: Final = index
        self.ready: Mapping[str, Any] | None = None
        """What the process said when it was ready; None while it is not there or not ready."""
        self.was_ready: Final = asyncio.Event()
        self._command: Final = command
        self._sleep: Final = sleep
        self._clock: Final = clock
        self._process: Process | None = None
        self._is_stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def admin(self) -> str | None:
        """Where its admin listener is, `host:port`; None while there is none."""
        return None if self.ready is None else str(self.ready["admin"])

    async def run(self) -> None:
        """Until it is stopped. Raises WorkerFailedError if the first process ends before it is ready."""
        wait_s = _FIRST_WAIT_S
        while not self._is_stopping:
            started = self._clock()
            code = await self._run_once()
            if self._is_stopping:
                return
            if not self.was_ready.is_set():
                raise WorkerFailedError(f"worker {self.index} ended before it was ready ({_words(code)})")
            if self._clock() - started >= _LONG_LIFE_S:
                wait_s = _FIRST_WAIT_S
            _log.error("a worker died and is started again", worker=self.index, end=_words(code), after_s=wait_s)
            await self._sleep(wait_s)
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)

    async def _run_once(self) -> int:
        """Runs one process to its end and gives its exit code."""
        process = self._process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                self._heard(line)
            return await process.wait()
        finally:
            self.ready = None
            if process.returncode is None:  # this task is cancelled
                process.kill()
                await process.wait()

    def _heard(self, line: bytes) -> None:
        with suppress(ValueError):
            message = json.loads(line)
            if message["event"] == "ready":
                self.ready = message
                self.was_ready.set()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if there is a process."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def stop(self) -> None:
        """Has the process drain; `run` returns when it has."""
        self._is_stopping = True
        self.signal(signal.SIGTERM)


def _words(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
