"""Server-sent events: the bytes of a `text/event-stream` to events and back, whatever the reads cut them into.

Source: the HTML standard, "Server-sent events", section "Parsing an event stream".
"""

import re
from collections.abc import Iterator

import msgspec

from gateway.errors import BadGatewayError

# No event that a backend sends may be larger: somebody has to hold it until its end comes.
MAX_EVENT_BYTES = 16 * 1024 * 1024

_EVENT_END = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerSentEvent(msgspec.Struct, frozen=True):
    """One event: its data with the lines joined by a newline, and its type (empty: `message`).

    `raw` are the bytes it came as, the blank line that ends it included. An event of comments alone has no data.
    """

    data: bytes
    event: str
    raw: bytes


class EventTooLargeError(BadGatewayError):
    """An event is longer than what may be held of it."""

    default_reason = "UPSTREAM_EVENT_TOO_LARGE"

    def __init__(self, limit: int) -> None:
        super().__init__(f"an event of the upstream's stream is longer than {limit} bytes")


class SseParser:
    """Collects bytes and gives the events that are complete. Incomplete ones stay until their blank line comes."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        # Bytes as they came for as long as reads end with an event, which most do; else collected in place.
        self._buffer: bytes | bytearray = b""
        self._start = 0
        self._searched = 0
        self._max_event_bytes = max_event_bytes
        self._at_start = True

    @property
    def pending(self) -> bytes:
        """Bytes that have not been given as an event."""
        return bytes(self._buffer[self._start :])

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """Takes more bytes and gives, as they are asked for, the events that these complete.

        Raises `EventTooLargeError` when an event without an end outgrows the limit.
        """
        self._append(data)
        if len(self._buffer) > self._max_event_bytes and self._find_end() is None:
            raise EventTooLargeError(self._max_event_bytes)
        return iter(self._next_event, None)

    def _append(self, data: bytes) -> None:
        if self._start == len(self._buffer):
            self._buffer = data
        else:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            del self._buffer[: self._start]
            self._buffer += data
        self._searched -= self._start
        self._start = 0

    def _next_event(self) -> ServerSentEvent | None:
        if self._start == len(self._buffer):
            return None  # as after most reads
        end = self._find_end()
        if end is None:
            return None
        raw = bytes(self._buffer[self._start : end])
        self._start = self._searched = end
        return self._parse(raw)

    def _find_end(self) -> int | None:
        """Where the event that begins at `_start` ends, its blank line included."""
        match = _EVENT_END.search(self._buffer, self._searched)
        # "\r" at the very end may be the first half of "\r\n".
        if match is None or (match.end() == len(self._buffer) and self._buffer.endswith(b"\r")):
            # An end mark is at most four bytes long and may be cut by the read.
            self._searched = max(self._start, len(self._buffer) - 3)
            return None
        return match.end()

    def _parse(self, raw: bytes) -> ServerSentEvent:
        text = raw
        if self._at_start:
            text = raw.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        if text.startswith(b"data: ") and text.find(b"\n") == len(text) - 2 and b"\r" not in text:
            return ServerSentEvent(text[6:-2], "", raw)
        return _parse_lines(text, raw)


def _parse_lines(text: bytes, raw: bytes) -> ServerSentEvent:
    data = []
    event = ""
    for line in _LINE_END.split(text):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    return ServerSentEvent(b"\n".join(data), event, raw)


def encode_event(data: bytes, event: str = "") -> bytes:
    """One event on the wire; newlines in the data become several `data:` lines."""
    head = b"event: %b\n" % event.encode() if event else b""
    if b"\n" not in data:
        return b"%bdata: %b\n\n" % (head, data)
    return head + b"".join(b"data: %b\n" % line for line in data.split(b"\n")) + b"\n"
