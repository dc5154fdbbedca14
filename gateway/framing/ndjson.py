"""Lines of JSON, one event a line, as Ollama streams its answers."""

from collections.abc import Iterator

from gateway.framing.sse import MAX_EVENT_BYTES, EventTooLargeError, ServerSentEvent


class NdjsonParser:
    """Collects bytes and gives the lines that are complete. Blank lines are passed over."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._max_event_bytes = max_event_bytes

    @property
    def pending(self) -> bytes:
        """Bytes that have not been given as an event."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """Takes more bytes and gives, as they are asked for, the lines that these complete.

        Raises `EventTooLargeError` when a line without an end outgrows the limit.
        """
        self._buffer += data
        if len(self._buffer) > self._max_event_bytes and b"\n" not in self._buffer:
            raise EventTooLargeError(self._max_event_bytes)
        return self._events()

    def _events(self) -> Iterator[ServerSentEvent]:
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            raw = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            self._searched = 0
            if line := raw.strip():
                yield ServerSentEvent(line, "", raw)
        self._searched = len(self._buffer)


def encode_line(data: bytes, event: str = "") -> bytes:
    """One event on the wire, which has no type here. JSON has no raw newlines that matter."""
    return data.replace(b"\n", b" ") + b"\n"
