"""One HTTP/2 connection to a backend: streams beside each other, windows, keepalive and the peer's going away."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias, cast

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from gateway.transport.errors import ConnectError, ConnectionBrokenError
from gateway.transport.http2_goaway import Goaway, GoawayFilter
from gateway.transport.http2_headers import RawHeaders
from gateway.transport.http2_stream import Http2Stream
from gateway.transport.messages import Body

# What a stream may hold that its reader has not taken.
STREAM_WINDOW_BYTES = 256 * 1024
# Given back as data arrives: streams that nobody reads must not stop the others. Memory is bound by their own windows.
_CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
_MAX_HEADER_BYTES = 64 * 1024
_KEEPALIVE = b"janua/ka"

_RawHead: TypeAlias = Sequence[tuple[bytes, bytes]]


class GoingAwayError(ConnectError):
    """The peer is closing this connection in good order, and has done nothing with the request."""

    def __init__(self) -> None:
        super().__init__("the backend is going away")


class Http2Connection(asyncio.Protocol):
    """The client's side of a connection. `on_change` is called when there may be room for another stream, or none."""

    def __init__(
        self,
        *,
        idle_timeout_s: float,
        keepalive_s: float,
        keepalive_timeout_s: float,
        on_change: Callable[[], None],
    ) -> None:
        self._h2 = _make_h2()
        self._goaways = GoawayFilter()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Http2Stream] = {}
        self._idle_timeout_s = idle_timeout_s
        self._keepalive_s = keepalive_s
        self._keepalive_timeout_s = keepalive_timeout_s
        self._on_change = on_change
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at = self._idle_since = self._loop.time()
        self._pinged_at: float | None = None
        self._writers: set[asyncio.Future[None]] = set()
        self._is_paused = False
        self._is_going_away = False
        self._to_give_back = 0
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def __repr__(self) -> str:
        state = "going away" if self._is_going_away else "open"
        return f"<Http2Connection {state}, {len(self._streams)} streams>"

    @property
    def is_usable(self) -> bool:
        """Whether it will take streams, if not now then later."""
        return not self._is_going_away

    @property
    def has_room(self) -> bool:
        """Whether a stream can be opened now."""
        return not self._is_going_away and len(self._streams) < self._h2.remote_settings.max_concurrent_streams

    async def wait_until_ready(self) -> None:
        """Waits for the peer's settings, which tell that it speaks HTTP/2. Raises `ConnectError`."""
        await self._ready

    def open_stream(self, headers: RawHeaders, body: Body, on_closed: Callable[[], None]) -> Http2Stream:
        """Sends a request's head, and its body if that fits. To be called while there is room."""
        has_body = body is not None and body != b""
        try:
            stream_id = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream_id, headers, end_stream=not has_body)
        except ProtocolError as error:  # all numbers are used up, or the peer has just lowered its limit
            self._go_away()
            raise GoingAwayError from error
        stream = Http2Stream(self, stream_id, is_sending=has_body, on_closed=on_closed)
        self._streams[stream_id] = stream
        if isinstance(body, bytes) and has_body and len(body) <= self._room(stream):
            self._h2.send_data(stream_id, body, end_stream=True)
            stream.is_sending = False
        elif body is not None and has_body:
            stream.start_upload(body)
        self._flush()
        return stream

    # What streams ask for.

    async def send_data(self, stream: Http2Stream, data: bytes, *, ends: bool) -> bool:
        """Sends a piece of a body as the windows and the socket allow; False if the stream takes no more."""
        view = memoryview(data)
        while stream.is_sending:
            room = self._room(stream)
            if view and room <= 0:
                await self._wait_for_room()
                continue
            piece, view = view[:room], view[room:]
            is_last = not view
            self._h2.send_data(stream.stream_id, bytes(piece), end_stream=ends and is_last)
            self._flush()
            if is_last:
                if ends:
                    stream.is_sending = False
                    self._forget_if_done(stream)
                return True
        return False

    def give_back(self, stream: Http2Stream, size: int) -> None:
        """Lets the peer send more on a stream, once half of its window has been read."""
        stream_id = stream.stream_id
        if stream.has_ended or stream_id not in self._streams:
            return
        stream.read_bytes += size
        if stream.read_bytes >= STREAM_WINDOW_BYTES // 2:
            self._h2.increment_flow_control_window(stream.read_bytes, stream_id)
            stream.read_bytes = 0
            self._flush()

    def leave(self, stream: Http2Stream) -> None:
        """Resets a stream that has not ended on both sides: the backend stops its work."""
        self._wake_writers()
        if self._streams.get(stream.stream_id) is stream:
            with suppress(ProtocolError):
                self._h2.reset_stream(stream.stream_id, ErrorCodes.CANCEL)
            self._forget(stream)
            self._flush()

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the preface."""
        self._transport = cast("asyncio.Transport", transport)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - 65_535)
        self._flush()
        self._timer = self._loop.call_later(min(self._keepalive_s, self._idle_timeout_s), self._check_time)

    def data_received(self, data: bytes) -> None:
        """Hands on what arrived to the streams."""
        self._heard_at = self._loop.time()
        try:
            for part in self._goaways.feed(data):
                if isinstance(part, Goaway):
                    self._peer_goes_away(part.last_stream_id)
                    continue
                for event in self._h2.receive_data(part):
                    self._handle(event)
        except (ProtocolError, ValueError):
            self._flush()
            self._break("what the backend sent is not valid HTTP")
            return
        if self._to_give_back >= _CONNECTION_WINDOW_BYTES // 2:
            self._h2.increment_flow_control_window(self._to_give_back)
            self._to_give_back = 0
        self._flush()

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._is_paused = False
        self._wake_writers()

    def connection_lost(self, error: Exception | None) -> None:
        """Ends all streams."""
        self._break("connection closed before the answer was complete")
        if not self.closed.done():
            self.closed.set_result(None)

    # Closing.

    def close(self) -> None:
        """Says goodbye and closes. Streams that are open break."""
        if self._transport is not None and not self._transport.is_closing():
            with suppress(ProtocolError):
                self._h2.close_connection()
            self._flush()
            self._transport.close()
        self._end("connection closed")

    def abort(self) -> None:
        """Closes at once, whatever is still to be sent."""
        self._break("connection closed")

    def _break(self, reason: str) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._ready.done():
            self._ready.set_exception(ConnectError("the backend does not speak HTTP/2"))
            self._ready.exception()  # nobody may be waiting any more
        self._go_away()
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.failed(ConnectionBrokenError(reason))
        self._wake_writers()
        self._on_change()

    def _go_away(self) -> None:
        self._is_going_away = True

    # Events.

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.DataReceived():
                self._to_give_back += event.flow_controlled_length or 0
                if (stream := self._streams.get(event.stream_id or 0)) is not None:
                    stream.data_received(event.data or b"", event.flow_controlled_length or 0)
            case events.ResponseReceived():
                if (stream := self._streams.get(event.stream_id or 0)) is not None:
                    stream.head_received(cast("_RawHead", event.headers))
            case events.StreamEnded():
                if (stream := self._streams.get(event.stream_id or 0)) is not None:
                    stream.ended()
                    self._forget_if_done(stream)
            case events.StreamReset():
                if (stream := self._streams.get(event.stream_id or 0)) is not None:
                    self._forget(stream)
                    stream.failed(_reset_error(event, stream))
                    self._wake_writers()
            case events.WindowUpdated():
                self._wake_writers()
            case events.RemoteSettingsChanged():
                if not self._ready.done():
                    self._ready.set_result(None)
                self._wake_writers()
                self._on_change()
            case _:
                pass  # pings and settings are answered by h2; trailers and informational answers are not wanted

    def _peer_goes_away(self, last_stream_id: int) -> None:
        self._go_away()
        for stream in [each for number, each in self._streams.items() if number > last_stream_id]:
            self._forget(stream)
            stream.failed(GoingAwayError())
        self._wake_writers()
        if not self._streams:
            self.close()

    # Streams and time.

    def _forget_if_done(self, stream: Http2Stream) -> None:
        if stream.has_ended and not stream.is_sending:
            self._forget(stream)

    def _forget(self, stream: Http2Stream) -> None:
        if self._streams.pop(stream.stream_id, None) is None:
            return
        self._idle_since = self._loop.time()
        self._on_change()
        if self._is_going_away and not self._streams:
            self._loop.call_soon(self.close)  # after what this stream still has to send

    def _check_time(self) -> None:
        """One timer for keepalive and idling: it fires early rather than being set anew with each stream."""
        now = self._loop.time()
        if self._pinged_at is not None and self._heard_at < self._pinged_at:
            self._break("no answer to a keepalive ping")
            return
        self._pinged_at = None
        if not self._streams:
            if now - self._idle_since >= self._idle_timeout_s:
                self.close()
                return
            due = min(self._idle_since + self._idle_timeout_s - now, self._keepalive_s)
        elif now - self._heard_at >= self._keepalive_s:
            self._h2.ping(_KEEPALIVE)
            self._flush()
            self._pinged_at = now
            due = self._keepalive_timeout_s
        else:
            due = self._heard_at + self._keepalive_s - now
        self._timer = self._loop.call_later(due, self._check_time)

    # Writing.

    def _room(self, stream: Http2Stream) -> int:
        if self._is_paused:
            return 0
        return min(self._h2.local_flow_control_window(stream.stream_id), self._h2.max_outbound_frame_size)

    async def _wait_for_room(self) -> None:
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._writers.add(waiter)
        try:
            await waiter
        finally:
            self._writers.discard(waiter)

    def _wake_writers(self) -> None:
        for waiter in self._writers:
            if not waiter.done():
                waiter.set_result(None)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _reset_error(event: events.StreamReset, stream: Http2Stream) -> Exception:
    if event.error_code == ErrorCodes.REFUSED_STREAM and not stream.status:
        return ConnectError("the backend refused the stream")
    return ConnectionBrokenError("the backend reset the stream")


def _make_h2() -> H2Connection:
    # Our own headers are checked where they are made; normalising keeps credentials out of the compression.
    h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False))
    h2.local_settings = Settings(
        client=True,
        initial_values={
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADER_BYTES,
        },
    )
    h2.max_inbound_frame_size = h2.local_settings.max_frame_size
    return h2
