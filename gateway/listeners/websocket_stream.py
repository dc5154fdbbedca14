"""WebSockets of clients as Hypercorn 0.18 has them, mended where a client could harm the node, or where what it says
would not be heard.

It is in use only where `mend_websockets` has been called. tests/conformance/test_websocket_proxy.py tells when it is
needed no more.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from dataclasses import replace
from typing import Any

from hypercorn.protocol import h11, ws_stream
from hypercorn.protocol.events import Body, Data, Event, Request, StreamClosed
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason

# So much silence although pings are sent, and the client is gone: five minutes of it.
WEBSOCKET_PING_INTERVAL_S = 20.0
_MAX_UNANSWERED_PINGS = 15
# What a client may take to see why it is refused, before the connection is closed.
_LINGER_S = 5.0


class WebSocketStream(ws_stream.WSStream):
    """One WebSocket."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Messages are large, unlike the pieces of bodies.
        self.config = copy(self.config)
        self.config.max_app_queue_size = 1
        self._is_refused = False
        self._has_heard = False
        self._is_taking = False
        self._ended = asyncio.Event()

    async def handle(self, event: Event) -> None:
        """Takes what has happened to the stream."""
        match event:
            case Request():
                # No compression: a small frame could become a message of any size.
                headers = [pair for pair in event.headers if pair[0].lower() != b"sec-websocket-extensions"]
                await super().handle(replace(event, headers=headers))
            case Body() | Data() if self.app_put is not None and not self.handshake.accepted:
                # Hypercorn would refuse the client, and leave the application waiting for it.
                await self.send(StreamClosed(stream_id=self.stream_id))
            case Body() | Data():
                self._has_heard = self._is_taking = True
                await super().handle(event)
                self._is_taking = False
            case StreamClosed():
                self._ended.set()
                await super().handle(event)
            case _:
                await super().handle(event)

    async def app_send(self, message: Any) -> None:
        """Takes what the application sends; None at its end."""
        if message is None:
            self._stop_giving()
        if message is not None or not self._is_refused:
            await super().app_send(message)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            match event:
                case Message() if not self._is_refused:
                    await self._take(event)
                case Ping():
                    await self._send_wsproto_event(event.response())
                case CloseConnection():
                    await self._closed_by_client(event)

    async def _take(self, event: "Message[Any]") -> None:
        try:
            self.buffer.extend(event)
        except ws_stream.FrameTooLargeError:
            await self._refuse()
            return
        if event.message_finished:
            await self._put(self.buffer.to_message())
            self.buffer.clear()

    async def _refuse(self) -> None:
        """Closes, and takes and drops what is still sent: Hypercorn would keep it."""
        self._is_refused = True
        self.buffer.clear()
        await self._send_wsproto_event(CloseConnection(code=CloseReason.MESSAGE_TOO_BIG))
        await self._put({"type": "websocket.disconnect", "code": CloseReason.ABNORMAL_CLOSURE.value})
        self.task_group.spawn(self._linger)

    async def _linger(self) -> None:
        if not await self._ends_within(_LINGER_S):
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def _closed_by_client(self, event: CloseConnection) -> None:
        is_in_order = self.connection.state is ConnectionState.REMOTE_CLOSING
        await self._send_wsproto_event(
            event.response() if is_in_order else CloseConnection(code=event.code, reason=event.reason)
        )
        if is_in_order:
            await self._put({"type": "websocket.disconnect", "code": int(event.code), "reason": event.reason or ""})
        await self.send(StreamClosed(stream_id=self.stream_id))

    def _stop_giving(self) -> None:
        """Nobody takes messages any more: who waits to give one must not wait for ever."""
        queue = getattr(self.app_put, "__self__", None)
        self.app_put = _drop
        while isinstance(queue, asyncio.Queue) and not queue.empty():
            queue.get_nowait()

    async def _put(self, message: Mapping[str, object]) -> None:
        if self.app_put is not None:
            await self.app_put(message)

    async def _send_pings(self) -> None:
        """Keeps those between from closing a silent connection, and notices when nobody is there any more."""
        unanswered = 0
        while not await self._ends_within(WEBSOCKET_PING_INTERVAL_S):
            unanswered = 0 if self._has_heard or self._is_taking else unanswered + 1
            self._has_heard = False
            if unanswered > _MAX_UNANSWERED_PINGS:
                await self.send(StreamClosed(stream_id=self.stream_id))
                return
            await self._send_wsproto_event(Ping())

    async def _ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        return self._ended.is_set()


async def _drop(message: object) -> None:
    """Nobody wants it."""


def mend_websockets() -> None:
    """Has every connection of this process use it: Hypercorn takes no other by configuration."""
    setattr(h11, "WSStream", WebSocketStream)  # noqa: B010  # type checkers take classes for constants
