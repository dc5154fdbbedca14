"""Relaying a stream of events to a client: whole events only, so that an error event can follow at any moment and be
understood, and under another model name where a rename asks for it."""

from typing import Protocol

from gateway.framing.sse import MAX_EVENT_BYTES, EventTooLargeError, ServerSentEvent, SseParser, encode_event
from gateway.schemas.dialect import Dialect


class EventRelay(Protocol):
    """Turns what a backend sends into what the client gets. Raises `EventTooLargeError` for an event without end."""

    def feed(self, data: bytes) -> bytes:
        """The bytes to send now; empty if no event is complete."""

    def finish(self) -> bytes:
        """What is left at the end of a stream."""


class WholeEvents:
    """Passes bytes through unchanged, up to the last blank line; the beginning of an event waits for its end."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> bytes:
        """All complete events, joined as they came."""
        held = self._held
        if not held and data.endswith(b"\n\n"):
            return data
        # The read may have cut a blank line.
        searched = max(0, len(held) - 2)
        held += data
        end = _end_of_last_event(held, searched)
        whole = bytes(held[:end])
        del held[:end]
        if len(held) > MAX_EVENT_BYTES:
            raise EventTooLargeError(MAX_EVENT_BYTES)
        return whole

    def finish(self) -> bytes:
        """The last event, if the backend left out its blank line."""
        held, self._held = bytes(self._held), bytearray()
        return held


class RenamedEvents:
    """Writes another model name into every event."""

    def __init__(self, dialect: Dialect, model: str) -> None:
        self._dialect = dialect
        self._model = model
        self._parser = SseParser()

    def feed(self, data: bytes) -> bytes:
        """All complete events, each with the name."""
        return b"".join(self._rename(event) for event in self._parser.feed(data))

    def finish(self) -> bytes:
        """The last event, if the backend left out its blank line."""
        return self.feed(b"\n\n") if self._parser.pending else b""

    def _rename(self, event: ServerSentEvent) -> bytes:
        renamed = self._dialect.with_model(event.data, self._model) if event.data else event.data
        return event.raw if renamed is event.data else encode_event(renamed, event.event)


def _end_of_last_event(data: bytearray, start: int) -> int:
    """Where the last blank line at or after `start` ends; 0 if there is none."""
    end = 0
    for blank_line in (b"\n\n", b"\n\r\n", b"\r\r"):
        at = data.rfind(blank_line, start)
        if at >= 0:
            end = max(end, at + len(blank_line))
    return end
