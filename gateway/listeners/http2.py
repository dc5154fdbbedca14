"""HTTP/2 as Hypercorn 0.18 has it, mended where one client, or one request, could harm the node or other requests.

It is in use only where `mend_http2` has been called. tests/conformance/test_http2.py and the tests of proxying over
HTTP/2 tell when it is needed no more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from copy import copy
from typing import Any, cast

from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived
from h2.events import Event as Http2Event
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hypercorn import protocol
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol import h2
from hypercorn.protocol.events import Body, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.typing import AppWrapper

from gateway.listeners.disconnect import AsgiMessage

# What a client may send on a stream before its handler has taken any of it: HTTP/2's own first value.
_STREAM_WINDOW_BYTES = 65_535
# More pieces than this have room in a window only if they are tiny; then the connection waits.
_MAX_UNTAKEN_PIECES = 1024


class FlowControlledBuffer(h2.StreamBuffer):
    """What waits to be sent on one stream. A writer may go on when little of it is left.

    Hypercorn's own lets the writer go on when little was taken: a client that takes nothing would make the node hold
    all of its answer.
    """

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will be written."""
        return self._complete

    async def pop(self, max_length: int) -> bytes:
        """Takes what may be sent now."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < h2.BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class Http2Protocol(h2.H2Protocol):
    """One connection.

    The window of a stream is given back as its handler takes the body, so that a body that nobody takes comes to a halt
    by itself. Hypercorn would stop reading, and with it all other streams.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._sending = asyncio.Lock()
        self._application = self.app
        self._untaken: dict[int, int] = {}
        self.config = copy(self.config)
        self.config.max_app_queue_size = _MAX_UNTAKEN_PIECES
        # Without Hypercorn's offer of WebSockets, whose handlers would have to give windows back too.
        self.connection.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: self.config.h2_max_concurrent_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: self.config.h2_max_header_list_size,
            },
        )

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        """Begins, with room for what all streams together may send."""
        await super().initiate(headers, settings)
        self.connection.increment_flow_control_window(_STREAM_WINDOW_BYTES * self.config.h2_max_concurrent_streams)
        await self._flush()

    async def handle(self, event: Event) -> None:
        """Takes what has happened to the connection."""
        await super().handle(event)
        if isinstance(event, Closed):
            # Else writers that wait for the client to take something would wait for ever.
            for buffer in self.stream_buffers.values():
                await buffer.close()

    async def stream_send(self, event: StreamEvent) -> None:
        """Takes what has happened to a stream."""
        if isinstance(event, StreamClosed) and event.stream_id in self.streams:
            buffer = self.stream_buffers.get(event.stream_id)
            if isinstance(buffer, FlowControlledBuffer) and not buffer.is_ended:
                # The answer will not be completed: the client must not wait for the rest.
                with suppress(ProtocolError):
                    self.connection.reset_stream(event.stream_id, ErrorCodes.INTERNAL_ERROR)
                await self._flush()
        await super().stream_send(event)

    async def _create_stream(self, request: RequestReceived) -> None:
        """Begins to serve a request, if it has what each must have and asks for no tunnel."""
        stream_id = request.stream_id or 0
        if not _can_be_served(request.headers or ()):
            # Hypercorn would end the whole connection, with a fault of its own.
            self.connection.reset_stream(stream_id, ErrorCodes.PROTOCOL_ERROR)
            await self._flush()
            return
        self._untaken[stream_id] = 0
        self.app = cast("AppWrapper", _Taking(self._application, lambda size: self._taken(stream_id, size)))
        await super()._create_stream(request)

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        self._give_back(stream_id, self._untaken.pop(stream_id, 0))

    async def _handle_events(self, events: Sequence[Http2Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived):
                await self._body_received(event.stream_id or 0, event.data or b"", event.flow_controlled_length or 0)
            else:
                await super()._handle_events([event])
        await self._flush()

    async def _body_received(self, stream_id: int, data: bytes, flow_controlled: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is None:
            # The rest of a request that is answered already. With Hypercorn it would end the whole connection.
            self._give_back(stream_id, flow_controlled)
            return
        if data:
            self._untaken[stream_id] += len(data)
            await stream.handle(Body(stream_id=stream_id, data=data))
        self._give_back(stream_id, flow_controlled - len(data))  # padding

    async def _taken(self, stream_id: int, size: int) -> None:
        if stream_id in self._untaken:  # else it was given back when the stream was closed
            self._untaken[stream_id] -= size
            self._give_back(stream_id, size)
            await self._flush()

    def _give_back(self, stream_id: int, size: int) -> None:
        if size:
            with suppress(ProtocolError):
                self.connection.acknowledge_received_data(size, stream_id)

    async def _flush(self) -> None:
        """Sends what there is to send. What h2 has handed out must reach the client, or the frames of all requests are
        out of step: so nothing is asked of h2 before it is our turn, in which who waits may be cancelled."""
        async with self._sending:
            if data := self.connection.data_to_send():
                await self.send(RawData(data=data))


class _Taking:
    """Runs the application for one stream, and tells how much of the request's body it has taken."""

    def __init__(self, application: AppWrapper, taken: Callable[[int], Awaitable[None]]) -> None:
        self._application = application
        self._taken = taken

    async def __call__(self, scope: Any, receive: Any, send: Any, *others: Any) -> None:
        """What Hypercorn calls."""

        async def take() -> AsgiMessage:
            message: AsgiMessage = await receive()
            if size := len(message.get("body", b"")):
                await self._taken(size)
            return message

        await self._application(scope, cast("Any", take), send, *others)


def _can_be_served(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    pseudo = {name: value for name, value in headers if name.startswith(b":")}
    is_whole = all(name in pseudo and pseudo[name].isascii() for name in (b":method", b":path"))
    return is_whole and pseudo[b":method"].upper() != b"CONNECT"


def mend_http2() -> None:
    """Has every connection of this process use it: Hypercorn takes no other protocol by configuration."""
    setattr(h2, "StreamBuffer", FlowControlledBuffer)  # noqa: B010  # type checkers take classes for constants
    setattr(protocol, "H2Protocol", Http2Protocol)  # noqa: B010
