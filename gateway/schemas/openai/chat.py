"""OpenAI's chat completions as a dialect: relayed as it is, and translated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.framing.sse import ServerSentEvent
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.openai import chat_encoder as openai_chat_encoder
from gateway.schemas.openai import chat_request as openai_chat_request
from gateway.schemas.openai import chat_request_encoder as openai_chat_request_encoder
from gateway.schemas.openai.chat_answer import decode_events
from gateway.schemas.openai.wire import OpenAIDialect
from gateway.types import AnswerStarted, ChatEvent, ChatRequest


@dataclass(frozen=True, slots=True)
class OpenAIChat(OpenAIDialect):
    """See `ChatDialect`."""

    posted_to: str = "/v1/chat/completions"
    name: str = openai_chat_request.NAME

    def decode_request(self, body: bytes, model: str) -> ChatRequest:
        """JSON to canonical."""
        return openai_chat_request.decode_request(body, model)

    def encode_request(self, request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        return openai_chat_request_encoder.encode_request(
            request, model, stream=stream, drop_unsupported=drop_unsupported
        )

    def decode_answer(self, body: bytes) -> Sequence[ChatEvent]:
        """A whole answer to events."""
        return decode_events(body, is_first=True)

    def event_decoder(self) -> "ChunkDecoder":
        """For one stream."""
        return ChunkDecoder()

    def encode_answer(self, events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
        """Events to a whole answer."""
        return openai_chat_encoder.encode_answer(events, settings)

    def event_encoder(self, settings: AnswerSettings) -> openai_chat_encoder.ChunkEncoder:
        """For one stream."""
        return openai_chat_encoder.ChunkEncoder(settings)


class ChunkDecoder:
    """Turns the chunks of one streamed answer into events."""

    def __init__(self) -> None:
        self._is_first = True

    def decode(self, event: ServerSentEvent) -> Sequence[ChatEvent]:
        """The events of one chunk. Raises `BadGatewayError`."""
        if not event.data:
            return ()
        events = decode_events(event.data, is_first=self._is_first)
        if self._is_first:
            self._is_first = not any(isinstance(each, AnswerStarted) for each in events)
        return events
