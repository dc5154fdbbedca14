"""Config servers that are killed, and started again where they were."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.config_server.server_process import command, environment


class Server:
    """A server on one port, that is started again and again."""

    def __init__(self, store: str, replica: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        kept = ("--kept-revisions", "1000000")  # the log is read from the beginning
        self._arguments = ("--listen", self.address, "--store", store, "--replica-id", replica, *kept)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, *, dies_at: str = "") -> None:
        """Does not wait until it is ready: it may be killed before that too. `dies_at`: see `dying_server`."""
        arguments = (*self._arguments, "--log-level", "error")
        dying = (sys.executable, "-m", "tests.config_server.faults.dying_server", dies_at, *arguments)
        self._process = await asyncio.create_subprocess_exec(
            *(dying if dies_at else command(*arguments)), stdout=asyncio.subprocess.DEVNULL, env=environment()
        )

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        if self.is_alive:
            self.send(signal.SIGKILL)
        assert self._process is not None
        await self._process.wait()

    async def has_died(self, *, within_s: float) -> bool:
        """Whether it ends by itself, by a signal."""
        assert self._process is not None
        try:
            async with asyncio.timeout(within_s):
                return await self._process.wait() < 0
        except TimeoutError:
            return False


@asynccontextmanager
async def servers(store: str, count: int) -> AsyncIterator[list[Server]]:
    made = [Server(store, f"replica-{number}") for number in range(count)]
    try:
        for server in made:
            await server.start()
        yield made
    finally:
        for server in made:
            await server.kill()
