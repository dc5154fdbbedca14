"""Finds out before anything is started whether the addresses to listen on are free."""

import errno
import socket
from collections.abc import Mapping

from janua_client.cli.failures import CommandError, usage_error


def require_free(addresses: Mapping[str, str]) -> None:
    """Checks `host:port` addresses, by the option that sets each. Raises `CommandError` naming the first taken one.

    Port 0 is always free. A port may still be taken before it is used: then the process that wanted it says so.
    """
    for option, address in addresses.items():
        host, port = _parse(option, address)
        try:
            _bind(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                advice = f"stop what listens there, or choose another with {option} {host}:0"
                raise CommandError(f"{address} is in use: {advice}") from error
            raise CommandError(f"cannot listen on {address}: {error.strerror or error}; see {option}") from error


def _parse(option: str, address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise usage_error(f"{option} {address}: not HOST:PORT")
    return host, int(port)


def _bind(host: str, port: int) -> None:
    bare = host.removeprefix("[").removesuffix("]")
    with socket.socket(socket.AF_INET6 if ":" in bare else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just closed is free
        probe.bind((bare, port))
