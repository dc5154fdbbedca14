"""WebSockets to backends: messages both ways, and pings while there are none."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import aiohttp
from yarl import URL

from gateway.transport.errors import AnswerTooLargeError, ConnectionBrokenError, TransportError
from gateway.transport.faults import transport_error
from gateway.transport.messages import Headers

_NO_CODE = 1005
# What a backend may take to answer our close before the connection is just ended.
_CLOSE_TIMEOUT_S = 5.0
# Often enough for those between who close silent connections.
_PING_INTERVAL_S = 20.0
# Five minutes: a backend that is busy may be slow to answer.
_MAX_UNANSWERED_PINGS = 15


class WebSocketRefusedError(TransportError):
    """The backend answered the handshake as plain HTTP, or wrongly (502)."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the WebSocket was refused with status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class WebSocketClose:
    """The backend has closed the WebSocket; without saying why the code is 1005 (RFC 6455, 7.1.5)."""

    code: int
    reason: str = ""


WebSocketMessage: TypeAlias = str | bytes | WebSocketClose


class WebSocketConnection:
    """An open WebSocket. Must be closed.

    `on_closed` is called once, when `close` has done its work. While `receive` waits, the backend is pinged; one that
    answers none of `max_unanswered_pings`, and says nothing else, is taken for dead.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.ping_interval_s = _PING_INTERVAL_S
        self.max_unanswered_pings = _MAX_UNANSWERED_PINGS
        self._socket = socket
        self._is_closed = False
        self.on_closed: Callable[[], None] = _nothing

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the backend has chosen."""
        return self._socket.protocol

    async def receive(self) -> WebSocketMessage:
        """The next message. Raises `AnswerTooLargeError` for one over the limit, and `ConnectionBrokenError`."""
        message = await self._next()
        while message.type in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
            if message.type is aiohttp.WSMsgType.PING:
                await self._send(self._socket.pong(message.data))
            message = await self._next()
        match message.type:
            case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                data: str | bytes = message.data
                return data
            case aiohttp.WSMsgType.CLOSE:
                return WebSocketClose(message.data or _NO_CODE, message.extra or "")
            case aiohttp.WSMsgType.ERROR:
                raise _error(message.data)
            case _:
                raise ConnectionBrokenError("connection closed without a close message")

    async def send(self, message: str | bytes) -> None:
        """Sends a message; returns once there is room for the next. Raises `ConnectionBrokenError`."""
        socket = self._socket
        await self._send(socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))

    async def _next(self) -> aiohttp.WSMessage:
        """What comes next, pings and pongs included."""
        for pings_left in reversed(range(self.max_unanswered_pings + 1)):
            try:
                async with asyncio.timeout(self.ping_interval_s):
                    return await self._socket.receive()
            except TimeoutError:
                if pings_left:
                    await self._ping()
            except (aiohttp.ClientError, OSError) as error:
                raise transport_error(error) from error
        raise ConnectionBrokenError("no answer to pings")

    async def _ping(self) -> None:
        # A backend that takes nothing at the moment must not keep us from hearing it.
        with suppress(TimeoutError):
            async with asyncio.timeout(self.ping_interval_s):
                await self._send(self._socket.ping())

    async def _send(self, sending: Coroutine[Any, Any, None]) -> None:
        try:
            await sending
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionBrokenError("connection closed") from error

    async def close(self, code: int = aiohttp.WSCloseCode.OK, reason: str = "") -> None:
        """Closes the WebSocket if it is open, and waits a little for the backend to agree. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._socket.close(code=code, message=reason.encode())
        finally:
            self.on_closed()


async def connect_websocket(
    session: aiohttp.ClientSession,
    url: URL,
    *,
    headers: Headers,
    subprotocols: Sequence[str],
    max_message_bytes: int,
    server_name: str | None,
) -> WebSocketConnection:
    """Connects over a session and shakes hands: see `HttpTransport.open_websocket`."""
    try:
        socket = await session.ws_connect(
            url,
            headers=headers,
            protocols=subprotocols,
            max_msg_size=max_message_bytes + 1,  # aiohttp refuses a message of this size
            server_hostname=server_name,
            autoping=False,
            timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_TIMEOUT_S),
        )
    except aiohttp.WSServerHandshakeError as error:
        raise WebSocketRefusedError(502 if error.status == 101 else error.status) from error
    except (aiohttp.ClientError, OSError) as error:
        raise transport_error(error) from error
    return WebSocketConnection(socket)


def _error(error: BaseException) -> TransportError:
    if isinstance(error, aiohttp.WebSocketError):
        if error.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
            return AnswerTooLargeError("a message of the backend is too large")
        return ConnectionBrokenError("what the backend sent is not valid WebSocket")
    if isinstance(error, (aiohttp.ClientError, OSError)):
        return transport_error(error)
    return ConnectionBrokenError(type(error).__name__)


def _nothing() -> None:
    """Nobody waits for the connection to close."""
