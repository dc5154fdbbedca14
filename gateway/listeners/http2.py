"""HTTP/2 as Hypercorn 0.18 has it, with four faults mended: three by which one client could harm the node or other
clients, and one that made an answer that is cut short look as if more were to come.

It is in use only where `mend_http2` has been called. tests/conformance/test_http2.py tells when it is needed no more.
"""

from collections.abc import Sequence
from contextlib import suppress

from h2.errors import ErrorCodes
from h2.events import DataReceived
from h2.events import Event as Http2Event
from h2.exceptions import ProtocolError
from hypercorn import protocol
from hypercorn.events import Closed, Event
from hypercorn.protocol import h2
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import StreamClosed


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
    """One connection."""

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

    async def _handle_events(self, events: Sequence[Http2Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                # The rest of a request that is answered already would end the whole connection.
                self.connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
                await self._flush()
            else:
                await super()._handle_events([event])


def mend_http2() -> None:
    """Has every connection of this process use it: Hypercorn takes no other protocol by configuration."""
    setattr(h2, "StreamBuffer", FlowControlledBuffer)  # noqa: B010  # type checkers take classes for constants
    setattr(protocol, "H2Protocol", Http2Protocol)  # noqa: B010
