"""Keeping from a caller the usage that only the node has asked a backend for."""

from gateway.framing.framing import Framing
from gateway.listeners.sse import EventRelay, WholeEvents
from gateway.schemas.chat_dialect import UsageOnDemand

# A read without these has nothing to hide, and need not be looked at further. `null` is the usage of other chunks.
_USAGE = b'"usage"'
_NO_USAGE = b'"usage":null'


class HiddenUsage:
    """Leaves out events that have the usage alone, before another relay. All other bytes go on as they came."""

    def __init__(self, dialect: UsageOnDemand, framing: Framing, relay: EventRelay) -> None:
        self._dialect = dialect
        self._whole = WholeEvents(framing)
        self._framing = framing
        self._relay = relay
        self.failure = relay.failure

    def feed(self, data: bytes) -> bytes:
        """The other events that the bytes complete."""
        return self._relay.feed(self._shown(self._whole.feed(data)))

    def finish(self) -> bytes:
        """What is left at the end of a stream."""
        return self._relay.feed(self._shown(self._whole.finish())) + self._relay.finish()

    def _shown(self, events: bytes) -> bytes:
        if events.count(_USAGE) == events.count(_NO_USAGE):
            return events
        parser = self._framing.parser()
        shown = [event.raw for event in parser.feed(events) if not self._dialect.is_usage_alone(event.data)]
        if unended := parser.pending:
            (last,) = parser.feed(b"\n\n")
            if not self._dialect.is_usage_alone(last.data):
                shown.append(unended)
        return b"".join(shown)
