"""Runs `janua` commands: in this process for speed, or as a process of its own where that is what is tested."""

import asyncio
import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from janua_client.cli import main

JANUA = str(Path(sys.executable).with_name("janua"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines on stderr."""
        return self.err.splitlines()


async def run_janua(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Finished:
    """Runs the command as a process, without a terminal. `env` is its whole environment."""
    process = await asyncio.create_subprocess_exec(
        JANUA,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env or {}),
    )
    out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Finished(code=process.returncode, out=out.decode(), err=err.decode())


async def janua(*arguments: str, stdin: str = "") -> Finished:
    """Runs the command in this process, which is quicker: in a thread, because it has an event loop of its own."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), _stdin(stdin):
        code = await asyncio.to_thread(main, arguments)
    return Finished(code=code, out=out.getvalue(), err=err.getvalue())


@contextmanager
def _stdin(text: str) -> Iterator[None]:
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
    try:
        yield
    finally:
        sys.stdin = before
