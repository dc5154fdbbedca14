"""Both planes on this machine as child processes: started in order, stopped in the opposite order."""

import os
import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from janua_resources.sealing import make_key
from rich.text import Text

from janua_client.cli.failures import CommandError
from janua_client.cli.output import stderr
from janua_client.cli.planes import plane_command
from janua_client.processes import Child, parse_ready

_START = 30.0  # seconds for a plane to be ready
_STOP = 10.0  # seconds beyond its own draining for a plane to end

CONFIG_SERVER, GATEWAY = "config-server", "gateway"

# A configuration file would contradict --config-server, and between the two there are neither TLS nor tokens.
_NOT_FOR_PLANES = dict.fromkeys(
    (
        "JANUA_ACCESS_FILE",
        "JANUA_CONFIG_FILE",
        "JANUA_CONFIG_SERVER_CA",
        "JANUA_CONFIG_SERVER_CERT",
        "JANUA_CONFIG_SERVER_KEY",
        "JANUA_CONFIG_SERVER_TLS",
        "JANUA_CONFIG_SERVER_TOKEN_FILE",
        "JANUA_TLS_CERT",
        "JANUA_TLS_CLIENT_CA",
        "JANUA_TLS_KEY",
        "JANUA_TOKEN",
    ),
    "",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Addresses to listen on, `host:port`; port 0 takes a free one."""

    config_server: str
    http: str
    grpc: str
    admin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the planes have come to listen."""

    config_server: str
    http: str
    grpc: str
    admin: str


class LocalPlanes:
    """The two processes. An async context manager; leaving it drains the gateway first, then the config server.

    What they write goes to stderr, each line after the name of its process. `gateway_environment` is for what must not
    stand on a command line, where others can read it. The keys that seal values of secrets are those of
    `encryption_key_file`, or JANUA_ENCRYPTION_KEY; if there is neither, one is made in the data directory.
    """

    def __init__(
        self,
        listen: Listen,
        data_dir: Path,
        *,
        config_server_options: Sequence[str],
        gateway_options: Sequence[str],
        drain_timeout: float,
        gateway_environment: Mapping[str, str] | None = None,
        encryption_key_file: Path | None = None,
    ) -> None:
        self._listen = listen
        self._data_dir = data_dir
        self._config_server_options = config_server_options
        self._gateway_options = gateway_options
        self._drain_timeout = drain_timeout
        self._gateway_environment = dict(gateway_environment or {})
        self._encryption_key_file = encryption_key_file
        self._stack = AsyncExitStack()
        self.children: tuple[Child, ...] = ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start_config_server(self) -> str:
        """Starts it and returns its address. Raises `ChildError`."""
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"{self._data_dir}: {error.strerror}: name another directory with --data-dir") from error
        store = f"sqlite:///{self._data_dir / 'config.db'}"
        child = await self._start(
            CONFIG_SERVER,
            _STOP,
            "config_server",
            *("--listen", self._listen.config_server, "--store", store, *self._encryption_key()),
            *self._config_server_options,
        )
        return str((await child.ready(_START))["grpc"])

    def _encryption_key(self) -> Sequence[str]:
        file = self._encryption_key_file
        if file is None:
            if os.environ.get("JANUA_ENCRYPTION_KEY"):
                return ()
            file = self._data_dir / "encryption-key"
            try:
                _make_key_once(file)
            except OSError as error:
                raise CommandError(f"{file}: {error.strerror}: give another with --encryption-key-file") from error
        return ("--encryption-key-file", str(file))

    async def start_gateway(self, config_server: str) -> Addresses:
        """Starts a node, waits until it has the configuration, and returns all addresses. Raises `ChildError`."""
        listen = self._listen
        child = await self._start(
            GATEWAY,
            self._drain_timeout + _STOP,
            "gateway",
            *("--config-server", config_server, "--state-dir", str(self._data_dir / "node")),
            *("--http", listen.http, "--grpc", listen.grpc, "--admin", listen.admin),
            *self._gateway_options,
        )
        ready = await child.ready(_START)
        return Addresses(
            config_server=config_server, http=str(ready["http"]), grpc=str(ready["grpc"]), admin=str(ready["admin"])
        )

    def reload(self) -> None:
        """Has the node read its secrets again."""
        for child in self.children:
            if child.name == GATEWAY:
                child.signal(signal.SIGHUP)

    def kill(self) -> None:
        """Ends both at once, for one who does not want to wait."""
        for child in self.children:
            child.kill()

    async def _start(self, name: str, grace: float, module: str, *arguments: str) -> Child:
        child = await Child.start(
            name,
            plane_command(module, *arguments),
            env={**_NOT_FOR_PLANES, **(self._gateway_environment if name == GATEWAY else {})},
            on_line=_printer(name),
        )
        self._stack.push_async_callback(child.stop, grace)
        self.children = (*self.children, child)
        return child


def _make_key_once(path: Path) -> None:
    """The key that seals values of secrets, readable by this user alone, whole and on disk. One that is there stays."""
    if path.exists():
        return
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{make_key()}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _printer(name: str) -> Callable[[str], None]:
    console = stderr()

    def print_line(line: str) -> None:
        if parse_ready(line) is None:
            console.print(Text.assemble((f"{name:<13} | ", "dim"), line), soft_wrap=True)

    return print_line
