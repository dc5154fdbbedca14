"""Child processes that say when they are ready: start, wait, stop, and tell why one died. What is started, and in
which order, is the caller's business."""

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_TIED_EXEC = Path(__file__).with_name("tied_exec.py")
_STDOUT = 1
_KEPT_LINES = 200
_LONGEST_LINE = 64 * 1024  # bytes; a longer line is cut in two, so that a child cannot fill our memory


class ChildError(Exception):
    """A child process that did not do what was expected of it. The text is one line; `tail` is the end of its log."""

    def __init__(self, message: str, tail: Sequence[str]) -> None:
        super().__init__(message)
        self.tail = tuple(tail)


class ChildExitedError(ChildError):
    """The child ended although it should run."""


class ChildNotReadyError(ChildError):
    """The child runs but has not said in time that it is ready."""


class Child:
    """A running child process, made by `Child.start`.

    It has a session of its own, so that Ctrl-C in the terminal reaches only us and we decide the order of the end;
    on Linux it is terminated when this process dies in any way. `stop` must be awaited in the end.
    """

    def __init__(self, name: str, transport: asyncio.SubprocessTransport, output: "_Output") -> None:
        self.name = name
        self._transport = transport
        self._output = output

    @classmethod
    async def start(
        cls,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> "Child":
        """Starts `argv`. `env` is added to our environment; `on_line` gets each line of output as it comes."""
        loop = asyncio.get_running_loop()
        transport, output = await loop.subprocess_exec(
            lambda: _Output(loop, on_line),
            *(sys.executable, "-ISE", str(_TIED_EXEC), str(os.getpid()), *argv),
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        return cls(name, transport, output)

    @property
    def pid(self) -> int:
        return self._transport.get_pid()

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for the signal that ended it; None while it runs."""
        return self._transport.get_returncode()

    def log_tail(self, lines: int = 20) -> tuple[str, ...]:
        """The last lines of stdout and stderr together, at most 200."""
        return tuple(self._output.lines)[-lines:]

    async def ready(self, timeout: float) -> Mapping[str, object]:
        """Waits for the line of JSON with `"event": "ready"` on stdout and returns it. `timeout` is in seconds.

        Raises `ChildExitedError` or `ChildNotReadyError`.
        """
        either: set[asyncio.Future[Any]] = {self._output.ready, self._output.exited}
        await asyncio.wait(either, timeout=timeout, return_when="FIRST_COMPLETED")
        if self._output.ready.done():
            return self._output.ready.result()
        if self._output.exited.done():
            raise await self._death("before it was ready")
        raise ChildNotReadyError(f"{self.name} was not ready within {timeout:g} s", self.log_tail())

    async def wait(self) -> int:
        """Waits for its end and the end of its output; returns the exit code."""
        await asyncio.wait({self._output.exited})
        await asyncio.wait({self._output.closed}, timeout=1)  # a grandchild may hold the pipes open
        return self._exit_code()

    async def died(self) -> ChildExitedError:
        """Waits for an end that nobody asked for; returns, not raises, the error."""
        await self.wait()
        return await self._death("unexpectedly")

    async def stop(self, grace: float = 10.0) -> int:
        """Terminates it, kills it after `grace` seconds, and returns the exit code. May be called again."""
        try:
            self.signal(signal.SIGTERM)
            await asyncio.wait({self._output.exited}, timeout=grace)
        finally:
            self.kill()
        code = await self.wait()
        self._transport.close()
        return code

    def kill(self) -> None:
        """Ends it at once; nothing happens if it has ended."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Sends a signal; nothing happens if it has ended."""
        if self.returncode is None:
            self._transport.send_signal(number)

    async def _death(self, when: str) -> ChildExitedError:
        code = await self.wait()
        tail = self.log_tail()
        cause = f": {tail[-1]}" if tail else ", without a word"
        return ChildExitedError(f"{self.name} ended {when} ({describe_exit(code)}){cause}", tail)

    def _exit_code(self) -> int:
        code = self.returncode
        assert code is not None
        return code


def describe_exit(code: int) -> str:
    """An exit code in words: `exit code 1`, `signal SIGKILL`."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


async def first_death(children: Iterable[Child]) -> ChildExitedError:
    """Waits until one of the children ends, and returns the error that says so."""
    tasks = {asyncio.create_task(child.died()) for child in children}
    try:
        done, _ = await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()


class _Output(asyncio.SubprocessProtocol):
    """Cuts the output of a process into lines and notices the ready line. Called by the event loop, so that no task
    is needed to keep the pipes from filling."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_line: Callable[[str], None] | None) -> None:
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self.ready: asyncio.Future[Mapping[str, object]] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._on_line = on_line
        self._partial: dict[int, bytes] = {}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, rest = (self._partial.get(fd, b"") + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._partial[fd] = rest
        for line in lines:
            self._line(fd, line)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if rest := self._partial.pop(fd, b""):
            self._line(fd, rest)

    def process_exited(self) -> None:
        self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _line(self, fd: int, raw: bytes) -> None:
        line = raw.decode(errors="replace").rstrip()
        if not line:
            return
        self.lines.append(line)
        if self._on_line is not None:
            self._on_line(line)
        if fd == _STDOUT and not self.ready.done() and (values := parse_ready(line)) is not None:
            self.ready.set_result(values)


def parse_ready(line: str) -> Mapping[str, object] | None:
    """The values of a ready line, `{"event": "ready", …}`; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return None
    return values if values.get("event") == "ready" else None
