"""Answering a request whose body has not been read, such that the client gets to see the answer."""

import asyncio
from contextlib import suppress

from gateway.listeners.disconnect import AsgiApp, AsgiMessage, Receive, Scope, Send

_LINGER_S = 5.0


class EndAfterBody:
    """Sends, and takes what is left of the request's body before it ends the answer.

    A connection that is closed while data arrives is reset, and the answer may be lost with it (RFC 9112 section 9.6).
    Who sends on for longer than a moment has it so.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def __call__(self, message: AsgiMessage) -> None:
        """ASGI's send."""
        if message["type"] != "http.response.body" or message.get("more_body", False):
            await self._send(message)
            return
        await self._send({**message, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while (await self._receive()).get("more_body", False):
                    pass
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class WithoutBody:
    """Runs an application that has no use for bodies: it sees none, and its answers end after those of the requests."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "http":
            await self._app(scope, _EmptyBody().receive, EndAfterBody(receive, send))
        else:
            await self._app(scope, receive, send)


class _EmptyBody:
    def __init__(self) -> None:
        self._is_told = False

    async def receive(self) -> AsgiMessage:
        """The end of the body at once; then nothing more, for as long as the application cares to wait."""
        if self._is_told:
            await asyncio.get_running_loop().create_future()
        self._is_told = True
        return {"type": "http.request", "body": b"", "more_body": False}
