"""Many discovery clients in a process of their own, so that they take nothing from the server that is measured."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_ANSWER_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the nodes have been sent in all: first syncs that have ended, resources, bytes on the wire both ways, and
    when the last response and the last end of a sync came (`time.monotonic`). `at`: how many nodes each server has."""

    synced: int
    resources: int
    bytes: int
    last: float
    last_sync: float
    at: list[int]


class FleetProcess:
    """Each method waits, and returns what has been seen until then."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def connect(self, nodes: int) -> Seen:
        """Adds nodes, which ask for everything but what the first is known to hold, until they have synced."""
        return await self._ask("connect", nodes)

    async def has(self, revision: int) -> Seen:
        """Until all have acknowledged what changed in it."""
        return await self._ask("has", revision)

    async def has_synced(self, count: int) -> Seen:
        """Until so many first syncs have ended in all."""
        return await self._ask("has_synced", count)

    async def look(self) -> Seen:
        return await self._ask("look", 0)

    async def _ask(self, command: str, argument: int) -> Seen:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, argument]).encode() + b"\n")
        async with asyncio.timeout(_ANSWER_S):
            line = await self._process.stdout.readline()
        return Seen(**json.loads(line))


@asynccontextmanager
async def discovery_fleet(*addresses: str) -> AsyncIterator[FleetProcess]:
    """No nodes at first; those to come spread over the servers. All are gone at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.discovery_fleet", *addresses),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield FleetProcess(process)
    finally:
        process.kill()
        await process.wait()
