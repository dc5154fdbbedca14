"""Runs `janua` commands: in this process for speed, or as a process of its own where that is what is tested."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

JANUA = str(Path(sys.executable).with_name("janua"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def last_error(self) -> str:
        return self.err.splitlines()[-1] if self.err else ""


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
