"""Where the server listens. gRPC may bind a port that is in use without a word: a plain socket tries it first."""

import ipaddress
import socket
from dataclasses import dataclass

_NOT_A_HOST = frozenset(" /?#@,")


class ListenError(Exception):
    """The server cannot listen there. The text is one line: what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """`host` is a name or an address without brackets; `port` 0 takes a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "ListenAddress":
        """Reads `127.0.0.1:18000`, `localhost:0`, `[::1]:18000`. Raises ValueError."""
        host, separator, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
        is_host = bool(bare) and not _NOT_A_HOST & set(bare) and (":" not in bare or bare != host)
        if not separator or not is_host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:18000")
        return cls(bare, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A name counts if it is `localhost`."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def with_port(self, port: int) -> "ListenAddress":
        return ListenAddress(self.host, port)

    def check_free(self) -> None:
        """Raises ListenError if the address cannot be bound."""
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen(1)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ListenError(f"cannot listen on {self}: {reason}; give --listen another address") from error

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
