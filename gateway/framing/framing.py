"""How a streamed answer is cut into events: which content type says so, and what finds their ends."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from gateway.framing.aws_event_stream import AwsEventStreamParser, encode_frame
from gateway.framing.ndjson import NdjsonParser, encode_line
from gateway.framing.sse import ServerSentEvent, SseParser, encode_event


class EventParser(Protocol):
    """Collects bytes and gives the events that are complete, whatever the reads cut them into."""

    @property
    def pending(self) -> bytes:
        """Bytes that have not been given as an event."""

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """Takes more bytes and gives the events that these complete. Raises `EventTooLargeError`."""


@dataclass(frozen=True, slots=True)
class Framing:
    """One way to write a stream of events. `content_type` is in lower case, without parameters.

    `encode` writes an event from its data and type; `ends` are the bytes that an event can end with, the usual first;
    none where only its beginning tells its length.
    """

    content_type: str
    parser: Callable[[], EventParser]
    encode: Callable[[bytes, str], bytes] = encode_event
    ends: tuple[bytes, ...] = (b"\n\n", b"\n\r\n", b"\r\r")


SSE = Framing("text/event-stream", SseParser)
NDJSON = Framing("application/x-ndjson", NdjsonParser, encode_line, (b"\n",))
AWS_EVENT_STREAM = Framing("application/vnd.amazon.eventstream", AwsEventStreamParser, encode_frame, ())
