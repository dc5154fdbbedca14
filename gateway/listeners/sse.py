"""Relaying a stream of events to a client: whole events only, so that an error event can follow at any moment and be
understood, under another model name where a rename asks for it, and with the changes that policies make."""

from collections.abc import Sequence
from typing import Protocol

from gateway.edits import JsonEdit
from gateway.errors import GatewayError
from gateway.framing.framing import SSE, Framing
from gateway.framing.sse import MAX_EVENT_BYTES, EventTooLargeError, ServerSentEvent
from gateway.schemas.dialect import Dialect
from gateway.schemas.json_edit import edited_answer


class EventRelay(Protocol):
    """Turns what a backend sends into what the client gets. Raises `EventTooLargeError` for an event without end."""

    @property
    def failure(self) -> GatewayError | None:
        """What ends the stream once the bytes that were given are sent, if anything does."""

    def feed(self, data: bytes) -> bytes:
        """The bytes to send now; empty if no event is complete."""

    def finish(self) -> bytes:
        """What is left at the end of a stream."""


class JudgedRelay(EventRelay, Protocol):
    """One that holds what somebody elsewhere has to judge."""

    async def settle(self) -> bytes:
        """The bytes to send of what is judged by now. Raises `GatewayError` where the stream must end."""

    async def end(self) -> bytes:
        """What is left at the end of a stream, in place of `finish`. Raises `GatewayError` likewise."""


class WholeEvents:
    """Passes bytes through unchanged, up to the end of the last event; the beginning of one waits for its end."""

    failure: None = None

    def __init__(self, framing: Framing = SSE) -> None:
        self._held = bytearray()
        self._ends = framing.ends
        self._usual_end = framing.ends[0]

    def feed(self, data: bytes) -> bytes:
        """All complete events, joined as they came."""
        held = self._held
        if not held and data.endswith(self._usual_end):
            return data
        # The read may have cut an end.
        searched = max(0, len(held) - 2)
        held += data
        end = _end_of_last_event(held, searched, self._ends)
        whole = bytes(held[:end])
        del held[:end]
        if len(held) > MAX_EVENT_BYTES:
            raise EventTooLargeError(MAX_EVENT_BYTES)
        return whole

    def finish(self) -> bytes:
        """The last event, if the backend left out its end."""
        held, self._held = bytes(self._held), bytearray()
        return held


class RenamedEvents:
    """Writes another model name into every event."""

    failure: None = None

    def __init__(self, dialect: Dialect, model: str) -> None:
        self._dialect = dialect
        self._model = model
        self._parser = dialect.framing.parser()

    def feed(self, data: bytes) -> bytes:
        """All complete events, each with the name."""
        return b"".join(self._rename(event) for event in self._parser.feed(data))

    def finish(self) -> bytes:
        """The last event, if the backend left out its end."""
        return self.feed(b"\n\n") if self._parser.pending else b""

    def _rename(self, event: ServerSentEvent) -> bytes:
        renamed = self._dialect.with_model(event.data, self._model) if event.data else event.data
        return event.raw if renamed is event.data else self._dialect.framing.encode(renamed, event.event)


class ChangedEvents:
    """Makes the changes of policies to the JSON of every event, after another relay."""

    def __init__(self, framing: Framing, edits: Sequence[JsonEdit], relay: EventRelay) -> None:
        self._framing = framing
        self._parser = framing.parser()
        self._edits = edits
        self._relay = relay

    @property
    def failure(self) -> GatewayError | None:
        """That of the other relay."""
        return self._relay.failure

    def feed(self, data: bytes) -> bytes:
        """All complete events, changed."""
        return self._changed(self._relay.feed(data))

    def finish(self) -> bytes:
        """What is left at the end of a stream."""
        return self._rest(self._relay.finish())

    def _rest(self, rest: bytes) -> bytes:
        changed = self._changed(rest)
        return changed + self._changed(b"\n\n") if self._parser.pending else changed

    def _changed(self, events: bytes) -> bytes:
        return b"".join(self._change(event) for event in self._parser.feed(events))

    def _change(self, event: ServerSentEvent) -> bytes:
        changed = edited_answer(event.data, self._edits) if event.data else event.data
        return event.raw if changed is event.data else self._framing.encode(changed, event.event)


class ChangedJudgedEvents(ChangedEvents):
    """The same after a relay that holds what has to be judged."""

    def __init__(self, framing: Framing, edits: Sequence[JsonEdit], relay: JudgedRelay) -> None:
        super().__init__(framing, edits, relay)
        self._judged = relay

    async def settle(self) -> bytes:
        """What is judged by now, changed."""
        return self._changed(await self._judged.settle())

    async def end(self) -> bytes:
        """What is left at the end of a stream, changed."""
        return self._rest(await self._judged.end())


def _end_of_last_event(data: bytearray, start: int, ends: tuple[bytes, ...]) -> int:
    """Where the last event that ends at or after `start` does; 0 if there is none."""
    end = 0
    for each in ends:
        at = data.rfind(each, start)
        if at >= 0:
            end = max(end, at + len(each))
    return end
