"""A config server as a process of its own, started by its command."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerProcess:
    process: asyncio.subprocess.Process
    ready: Mapping[str, object]

    @property
    def address(self) -> str:
        return str(self.ready["grpc"])

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Failure:
    code: int | None
    output: str
    error: str


def command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "config_server", *arguments)


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JANUA_")}
    return kept | variables


@asynccontextmanager
async def server_process(*arguments: str, **variables: str) -> AsyncIterator[ServerProcess]:
    """A server that is ready. It is killed at the end, unless it has ended by then."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments), stdout=asyncio.subprocess.PIPE, env=environment(**variables)
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            line = await process.stdout.readline()
        yield ServerProcess(process, json.loads(line))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def failure(*arguments: str, **variables: str) -> Failure:
    """Runs the command to its end."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(**variables),
    )
    try:
        async with asyncio.timeout(30):
            output, error = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return Failure(process.returncode, output.decode(), error.decode())
