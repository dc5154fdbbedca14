"""Ports that several processes listen on."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

from gateway.bootstrap import ListenAddress
from gateway.listeners.hypercorn import ListenError, bind, listen_error_text


@contextmanager
def shared_port(address: ListenAddress) -> Iterator[ListenAddress]:
    """Holds a port for the workers, without listening on it, and gives its address; port 0 takes a free one.

    A worker that is started again finds its port still its own. Raises `ListenError`, also for a port that somebody
    else shares already: the kernel would hand connections to both.
    """
    with closing(bind(address.host, address.port)) as probe:
        port = probe.getsockname()[1]
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            held.bind((address.host, port))
        except OSError as error:
            raise ListenError(listen_error_text(address.host, port, error)) from error
        yield ListenAddress(host=address.host, port=port)
