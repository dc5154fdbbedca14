"""An address that takes no connection and refuses none, as a host behind a firewall."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def unanswering_address() -> Iterator[str]:
    """`host:port` of a listener whose queue is full, so that the kernel drops further attempts."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        host, port = listener.getsockname()
        yield f"{host}:{port}"
