"""Anthropic's messages as a dialect: relayed as they are, and translated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.schemas.anthropic import answer as anthropic_answer
from gateway.schemas.anthropic import answer_encoder as anthropic_answer_encoder
from gateway.schemas.anthropic import request as anthropic_request
from gateway.schemas.anthropic.encoder import EventEncoder
from gateway.schemas.anthropic.wire import NAME, AnthropicDialect
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.types import ChatEvent, ChatRequest


@dataclass(frozen=True, slots=True)
class AnthropicMessages(AnthropicDialect):
    """See `ChatDialect`."""

    posted_to: str = "/v1/messages"
    name: str = NAME

    def decode_request(self, body: bytes, model: str) -> ChatRequest:
        """JSON to canonical."""
        return anthropic_request.decode_request(body, model)

    def encode_request(self, request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        return anthropic_request.encode_request(request, model, stream=stream, drop_unsupported=drop_unsupported)

    def decode_answer(self, body: bytes) -> Sequence[ChatEvent]:
        """A whole answer to events."""
        return anthropic_answer.decode_answer(body)

    def event_decoder(self) -> anthropic_answer.EventDecoder:
        """For one stream."""
        return anthropic_answer.EventDecoder()

    def encode_answer(self, events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
        """Events to a whole answer."""
        return anthropic_answer_encoder.encode_answer(events, settings)

    def event_encoder(self, settings: AnswerSettings) -> EventEncoder:
        """For one stream."""
        return EventEncoder(settings)
