"""The settings of a node: what the command line and the environment say, checked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from pathlib import Path

_PORT = re.compile("[0-9]{1,5}")


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
class NodeSettings:
    """How a node runs. Either `config_servers` or `config_file` is given; times are in seconds.

    `node_id` empty: made once and kept in the state directory. `shared_store` is an address, which may hold a password;
    empty: none. `access_log`: a path, `-` for standard error, or `off`. `is_worker`: it is one of several that share
    their ports, and ends when its standard input does. `advertise_grpc`: where clients of discovery reach `grpc`, port
    0 standing for its own; None: where it listens. `secrets_env_prefixes` and `secrets_dirs`: which variables and files
    secrets may name, see `SecretPlaces`. `state_keys` seal what the state directory has of the configuration. `tls`
    None: requests come in clear.
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
    tls: TlsFiles | None = None
