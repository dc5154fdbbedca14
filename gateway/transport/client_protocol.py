"""aiohttp's protocol of client connections, mended: see docs/decisions/0007-aiohttp-mended.md."""

import asyncio
from functools import partial

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import set_exception


def mend(connector: aiohttp.BaseConnector) -> None:
    """Makes the readers of answers end when what arrives on the connector's connections is not HTTP."""
    protocol: type[ResponseHandler] = _Protocol
    connector._factory = partial(protocol, loop=asyncio.get_running_loop())


class _Protocol(ResponseHandler):
    """Tells the reader of a body that is being read that the connection is broken, too.

    With its parser in C aiohttp tells only whoever waits for an answer's headers, and the reader waits on.
    """

    def set_exception(self, exc: BaseException, *args: BaseException) -> None:
        super().set_exception(exc, *args)
        body = self._payload
        if body is not None and not body.is_eof() and body.exception() is None:
            set_exception(body, aiohttp.ClientPayloadError("the connection broke"), *args)
