"""AWS event streams, `application/vnd.amazon.eventstream`: frames of headers and a payload with their check sums.

A frame is a prelude (its length and that of its headers, four bytes each, and their CRC32), headers, payload, and the
CRC32 of all before. Numbers are big-endian. Source: Amazon's "Event stream encoding".
"""

import struct
import zlib
from collections.abc import Iterator, Mapping

import msgspec

from gateway.errors import BadGatewayError
from gateway.framing.sse import MAX_EVENT_BYTES, EventTooLargeError, ServerSentEvent

PRELUDE_BYTES = 12
_CHECK_SUM_BYTES = 4
_EMPTY_FRAME_BYTES = PRELUDE_BYTES + _CHECK_SUM_BYTES

_prelude = struct.Struct(">III")
_lengths = struct.Struct(">II")
_check_sum = struct.Struct(">I")
_size = struct.Struct(">H")

# Bytes of a header's value by its kind; kinds 6 (bytes) and 7 (text) have their length before them.
_FIXED_BYTES: Mapping[int, int] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _TEXT = 6, 7

# Kinds of frames whose headers are remembered.
_MAX_KNOWN = 32


class BadFrameError(BadGatewayError):
    """Bytes that are no frame, or a damaged one: nothing after them can be understood."""

    default_reason = "UPSTREAM_MALFORMED"

    def __init__(self, what: str) -> None:
        super().__init__(f"a frame of the upstream's stream is damaged: {what}")


class AwsEventStreamParser:
    """Collects bytes and gives the frames that are complete, as events: the payload as data, under the name that
    `:event-type` or `:exception-type` tells.

    An error without an exception gives its message as JSON, under its code. Raises `BadFrameError` while the events are
    asked for; the length of a frame is believed only after its check sum.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        # Bytes as they came for as long as reads end with a frame; else collected in place.
        self._buffer: bytes | bytearray = b""
        self._start = 0
        self._max_event_bytes = max_event_bytes
        # A stream repeats the headers of its few kinds of frames.
        self._known: dict[bytes, Mapping[str, str]] = {}

    @property
    def pending(self) -> bytes:
        """Bytes that have not been given as an event."""
        return bytes(self._buffer[self._start :])

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """Takes more bytes and gives, as they are asked for, the events that these complete.

        Raises `EventTooLargeError` for a frame that says it is larger than the limit, before it comes.
        """
        if self._start == len(self._buffer):
            self._buffer = data
        else:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            del self._buffer[: self._start]
            self._buffer += data
        self._start = 0
        self._frame_bytes()
        return iter(self._next_event, None)

    def _frame_bytes(self) -> int | None:
        """The length of the frame that begins at `_start`; None if its prelude is not there yet."""
        if len(self._buffer) - self._start < PRELUDE_BYTES:
            return None
        length = frame_bytes(self._buffer, self._start)
        if length is None:
            raise BadFrameError("the check sum of its prelude, or a length in it")
        if length > self._max_event_bytes:
            raise EventTooLargeError(self._max_event_bytes)
        return length

    def _next_event(self) -> ServerSentEvent | None:
        length = self._frame_bytes()
        if length is None or len(self._buffer) - self._start < length:
            return None
        frame = bytes(self._buffer[self._start : self._start + length])
        self._start += length
        return read_frame(frame, self._known)


def frame_bytes(data: bytes | bytearray, start: int) -> int | None:
    """The length of the frame whose whole prelude stands at `start`; None if there is none."""
    length, headers, told = _prelude.unpack_from(data, start)
    if headers + _EMPTY_FRAME_BYTES > length:
        return None
    return length if zlib.crc32(data[start : start + PRELUDE_BYTES - _CHECK_SUM_BYTES]) == told else None


def read_frame(frame: bytes, known: dict[bytes, Mapping[str, str]] | None = None) -> ServerSentEvent:
    """The event in one whole frame, whose prelude has been checked. Raises `BadFrameError`.

    `known` remembers what headers say, as long as they are few.
    """
    end = len(frame) - _CHECK_SUM_BYTES
    if zlib.crc32(memoryview(frame)[:end]) != _check_sum.unpack_from(frame, end)[0]:
        raise BadFrameError("its check sum")
    payload_at = PRELUDE_BYTES + _lengths.unpack_from(frame)[1]
    written = frame[PRELUDE_BYTES:payload_at]
    headers = known.get(written) if known is not None else None
    if headers is None:
        headers = _read_headers(written)
        if known is not None and len(known) < _MAX_KNOWN:
            known[written] = headers
    payload = frame[payload_at:end]
    match headers.get(":message-type"):
        case "exception":
            return ServerSentEvent(payload, headers.get(":exception-type", "exception"), frame)
        case "error":
            message = {"message": headers.get(":error-message", "")}
            return ServerSentEvent(msgspec.json.encode(message), headers.get(":error-code", "error"), frame)
        case _:
            return ServerSentEvent(payload, headers.get(":event-type", ""), frame)


def _read_headers(written: bytes) -> dict[str, str]:
    """The headers that are texts; values of other kinds are passed over."""
    headers: dict[str, str] = {}
    at, end = 0, len(written)
    try:
        while at < end:
            name_at, at = at + 1, at + 1 + written[at]
            name, kind, at = written[name_at:at], written[at], at + 1
            if kind in (_BYTES, _TEXT):
                value_at = at + _size.size
                at = value_at + _size.unpack_from(written, at)[0]
                if kind == _TEXT and at <= end:
                    headers[name.decode()] = written[value_at:at].decode()
            else:
                at += _FIXED_BYTES[kind]
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        raise BadFrameError("its headers") from None
    if at != end:
        raise BadFrameError("its headers")
    return headers


def encode_frame(data: bytes, event: str = "") -> bytes:
    """One event on the wire: an exception if its type is named so."""
    is_exception = event.endswith("Exception")
    headers = b"".join(
        (
            _encode_header(b":exception-type" if is_exception else b":event-type", event.encode()),
            _JSON_HEADER,
            _EXCEPTION_HEADER if is_exception else _EVENT_HEADER,
        )
    )
    lengths = _lengths.pack(_EMPTY_FRAME_BYTES + len(headers) + len(data), len(headers))
    frame = b"".join((lengths, _check_sum.pack(zlib.crc32(lengths)), headers, data))
    return frame + _check_sum.pack(zlib.crc32(frame))


def _encode_header(name: bytes, value: bytes) -> bytes:
    return b"".join((bytes((len(name),)), name, bytes((_TEXT,)), _size.pack(len(value)), value))


_JSON_HEADER = _encode_header(b":content-type", b"application/json")
_EVENT_HEADER = _encode_header(b":message-type", b"event")
_EXCEPTION_HEADER = _encode_header(b":message-type", b"exception")
