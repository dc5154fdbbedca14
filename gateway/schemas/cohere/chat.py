"""Cohere's chat as a dialect: relayed as it is, and translated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.cohere import answer as cohere_answer
from gateway.schemas.cohere import encoder as cohere_encoder
from gateway.schemas.cohere import request as cohere_request
from gateway.schemas.cohere.wire import NAME, CohereDialect
from gateway.types import ChatEvent, ChatRequest


@dataclass(frozen=True, slots=True)
class CohereChat(CohereDialect):
    """See `ChatDialect`."""

    posted_to: str = "/v2/chat"
    name: str = NAME

    def decode_request(self, body: bytes, model: str) -> ChatRequest:
        """JSON to canonical."""
        return cohere_request.decode_request(body, model)

    def encode_request(self, request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        return cohere_request.encode_request(request, model, stream=stream, drop_unsupported=drop_unsupported)

    def decode_answer(self, body: bytes) -> Sequence[ChatEvent]:
        """A whole answer to events."""
        return cohere_answer.decode_answer(body)

    def event_decoder(self) -> cohere_answer.EventDecoder:
        """For one stream."""
        return cohere_answer.EventDecoder()

    def encode_answer(self, events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
        """Events to a whole answer."""
        return cohere_encoder.encode_answer(events, settings)

    def event_encoder(self, settings: AnswerSettings) -> cohere_encoder.EventEncoder:
        """For one stream."""
        return cohere_encoder.EventEncoder(settings)
