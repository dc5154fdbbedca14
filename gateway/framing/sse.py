"""Server-sent events: the bytes of a `text/event-stream` to events and back, whatever the reads cut them into.

Source: the HTML standard, "Server-sent events", section "Parsing an event stream".
"""

import re
from dataclasses import dataclass

_EVENT_END = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event: its data with the lines joined by a newline, and its type (empty: `message`).

    `raw` are the bytes it came as, the blank line that ends it included. An event of comments alone has no data.
    """

    data: bytes
    event: str
    raw: bytes


class EventTooLargeError(ValueError):
    """An event is longer than the parser may hold."""


class SseParser:
    """Collects bytes and gives the events that are complete. Incomplete ones stay until their blank line comes."""

    def __init__(self, *, max_event_bytes: int = 16 * 1024 * 1024) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._max_event_bytes = max_event_bytes
        self._at_start = True

    @property
    def pending(self) -> bytes:
        """Bytes of an event that is not complete."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Takes more bytes and gives the events that they complete.

        Raises `EventTooLargeError` when an event without an end outgrows the limit.
        """
        self._buffer += data
        events = []
        start = 0
        search_from = self._searched
        while (end := self._find_end(max(start, search_from))) is not None:
            events.append(self._parse(bytes(self._buffer[start:end])))
            start = end
            search_from = end
        del self._buffer[:start]
        # An end mark is at most four bytes long and may be cut by the read.
        self._searched = max(0, len(self._buffer) - 3)
        if len(self._buffer) > self._max_event_bytes:
            raise EventTooLargeError(f"an event of the stream is longer than {self._max_event_bytes} bytes")
        return events

    def _find_end(self, position: int) -> int | None:
        match = _EVENT_END.search(self._buffer, position)
        if match is None:
            return None
        # "\r" at the very end may be the first half of "\r\n".
        if match.end() == len(self._buffer) and self._buffer[-1:] == b"\r":
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
