"""Hypercorn's connections over TLS, which tell the application the client's certificate, and whose end in disorder is
nobody's fault.

It is in use only where `mend_connections` has been called.
"""

from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from typing import Any

from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer

from gateway.listeners.client_certificate import CERTIFICATE, certificate_of_connection


class Connection(TCPServer):
    """One connection. The state that its requests have in their scope holds the certificate, if there is one."""

    def __init__(
        self, app: Any, loop: Any, config: Any, context: Any, state: Any, reader: StreamReader, writer: StreamWriter
    ) -> None:
        secured = writer.get_extra_info("ssl_object")
        if secured is not None and (der := secured.getpeercert(binary_form=True)) is not None:
            state = {**state, CERTIFICATE: certificate_of_connection(der)}
        super().__init__(app, loop, config, context, state, reader, writer)

    async def run(self) -> None:
        """Serves it to its end. Of faults in how TLS ends Hypercorn takes some for its own."""
        with suppress(OSError):
            await super().run()


def mend_connections() -> None:
    """Has every connection of this process be one: Hypercorn takes no other by configuration."""
    setattr(run, "TCPServer", Connection)  # noqa: B010  # type checkers take classes for constants
