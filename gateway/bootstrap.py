"""The settings of a node: what the command line and the environment say, checked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from pathlib import Path

from janua_resources.hosts import is_loopback

_PORT = re.compile("[0-9]{1,5}")


class ServerCredentialsError(Exception):
    """The node's credentials for config servers cannot be used; the text is one line."""


class ConfigFileError(Exception):
    """A configuration file cannot be used; the text has one line per fault, with its place."""


class TlsFilesError(Exception):
    """Files for TLS cannot be used; the text is one line that names them and shows nothing of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where a listener binds; port 0 takes a free one."""

    host: str
    port: int

    @property
    def can_be_dialled(self) -> bool:
        """Whether others reach it as it is written: an IP address, and not one that stands for all of a machine."""
        try:
            return not ip_address(self.host).is_unspecified
        except ValueError:
            return False

    @classmethod
    def parse(cls, text: str) -> "ListenAddress":
        """Reads `HOST:PORT` or `[IPV6]:PORT`. Raises ValueError that says what is wrong."""
        written, colon, port = text.rpartition(":")
        host = written.removeprefix("[").removesuffix("]")
        if not colon or not host:
            raise ValueError(f"'{text}' is not HOST:PORT")
        if not _PORT.fullmatch(port) or int(port) > 65535:
            raise ValueError(f"'{port}' is not a port")
        if ":" in host and written != f"[{host}]":
            raise ValueError(f"'{text}' is not HOST:PORT; an IPv6 address stands in brackets: [::1]:8080")
        return cls(host=host, port=int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class HttpServer(Enum):
    """Which server speaks HTTP on the listener for requests."""

    HYPERCORN = "hypercorn"
    GRANIAN = "granian"


class RequiredOn(Enum):
    """Which listeners take no connection without a client certificate, where the node asks for them at all."""

    NONE = "none"
    GRPC = "grpc"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What the listeners for requests are secured with, as files in PEM: the certificate with those between it and its
    CA, its key, and, if clients are asked for certificates, the CAs that sign them."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    required_on: RequiredOn = RequiredOn.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCredentials:
    """How a config server is known to be the right one, and what a node shows it.

    `tls`: whether to speak TLS; so does whoever gives `ca`, authorities to trust instead of the system's, or
    `certificate` and `key`, all files in PEM. `token_file` goes before `token`; without TLS a token is sent on this
    machine only. Files are read anew for each connection, and each raises ServerCredentialsError if it cannot be.
    """

    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    token: str = field(default="", repr=False)

    def check(self, servers: Sequence[str]) -> None:
        """Raises ServerCredentialsError for what can never work."""
        if (self.certificate is None) != (self.key is None):
            raise ServerCredentialsError("--config-server-cert and --config-server-key belong together")
        self.read_tls()
        if self.read_token() and not self.uses_tls and (far := [each for each in servers if not _is_local(each)]):
            text = f"a token would go to {far[0]} in plain text: give --config-server-tls or --config-server-ca"
            raise ServerCredentialsError(text)

    @property
    def uses_tls(self) -> bool:
        return self.tls or self.ca is not None or self.certificate is not None

    def read_token(self) -> str:
        """Empty: none."""
        return self.token if self.token_file is None else _read(self.token_file).decode("ascii", "replace").strip()

    def read_tls(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Authorities, key, certificate chain: those that are given."""
        authorities, key, certificate = (
            None if path is None else _read(path) for path in (self.ca, self.key, self.certificate)
        )
        return authorities, key, certificate


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ServerCredentialsError(f"{path}: {(error.strerror or 'unreadable').lower()}") from None


def _is_local(server: str) -> bool:
    host = server.rpartition(":")[0].removeprefix("[").removesuffix("]")
    return is_loopback(host) or server.startswith("unix:")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """How a node runs. Either `config_servers` or `config_file` is given; times are in seconds.

    `node_id` empty: made once and kept in the state directory. `shared_store` is an address, which may hold a password;
    empty: none. `access_log`: a path, `-` for standard error, or `off`. `is_worker`: it is one of several that share
    their ports, and ends when its standard input does. `advertise_grpc`: where clients of discovery reach `grpc`, port
    0 standing for its own; None: where it listens. `secrets_env_prefixes` and `secrets_dirs`: which variables and files
    secrets may name, see `SecretPlaces`. `state_keys` seal what the state directory has of the configuration. `tls`
    None: requests come in clear. `server` GRANIAN goes with no TLS.
    """

    config_servers: tuple[str, ...]
    config_file: Path | None
    http: ListenAddress
    grpc: ListenAddress
    admin: ListenAddress
    node_id: str
    node_cluster: str
    state_dir: Path
    drain_timeout_s: float
    max_body_bytes: int
    access_log: str
    cache_bytes: int
    is_worker: bool = False
    secrets_env_prefixes: tuple[str, ...] = ()
    secrets_dirs: tuple[Path, ...] = ()
    state_keys: Sequence[bytes] = field(default=(), repr=False)
    shared_store: str = field(default="", repr=False)
    advertise_grpc: ListenAddress | None = None
    config_server_credentials: ServerCredentials = field(default_factory=ServerCredentials)
    tls: TlsFiles | None = None
    server: HttpServer = HttpServer.HYPERCORN
