"""What a dialect of conversations can do: be relayed as it is, and be translated to and from the canonical form."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gateway.framing.sse import ServerSentEvent
from gateway.schemas.dialect import Dialect
from gateway.types import ChatEvent, ChatRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettings:
    """What an answer takes from its request: the model as the caller calls it, and whether a stream tells its usage."""

    model: str
    includes_usage: bool = True


class EventDecoder(Protocol):
    """Turns one streamed answer into canonical events."""

    def decode(self, event: ServerSentEvent) -> Sequence[ChatEvent]:
        """The events that one event of the stream brings.

        Raises `BadGatewayError` for what is not of this dialect, and for an error within the stream.
        """


class EventEncoder(Protocol):
    """Turns canonical events into one streamed answer, whatever order they come in."""

    def encode(self, events: Iterable[ChatEvent]) -> bytes:
        """The bytes to send now; what came together goes together."""

    def finish(self) -> bytes:
        """The end of the stream."""


@runtime_checkable
class UsageOnDemand(Protocol):
    """A dialect whose streams tell their usage only where the request asks for it."""

    def with_usage_asked(self, body: bytes) -> bytes:
        """The request, asking for the usage; the very same if it does already."""

    def is_usage_alone(self, data: bytes) -> bool:
        """Whether an event has the usage and nothing else for those who did not ask for it."""


class ChatDialect(Dialect, Protocol):
    """A dialect that conversations can be translated to and from.

    Of every dialect holds: encoding what was decoded gives a request of the same meaning, and any way to cut a stream
    gives the same events.
    """

    @property
    def name(self) -> str:
        """What names the dialect in `ChatRequest.dialect`, `OpaquePart` and `OpaqueTool`."""

    def decode_request(self, body: bytes, model: str) -> ChatRequest:
        """The canonical request; `model` is the one that was asked for, which some dialects have in the path.

        Raises `InvalidRequestError` that names the field.
        """

    def encode_request(self, request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
        """The body that asks `model`. A streamed answer is asked to tell its usage.

        What the dialect has no place for is left out with `drop_unsupported`; else it raises `InvalidRequestError` that
        names the field.
        """

    def decode_answer(self, body: bytes) -> Sequence[ChatEvent]:
        """The events of a whole answer. Raises `BadGatewayError` for what is not one."""

    def event_decoder(self) -> EventDecoder:
        """A decoder for one streamed answer."""

    def encode_answer(self, events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
        """A whole answer: its events folded."""

    def event_encoder(self, settings: AnswerSettings) -> EventEncoder:
        """An encoder for one streamed answer."""
