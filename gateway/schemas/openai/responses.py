"""OpenAI's responses as a dialect: relayed as they are, and translated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.openai import responses_encoder as openai_responses_encoder
from gateway.schemas.openai import responses_request as openai_responses_request
from gateway.schemas.openai.responses_answer import AnswerDecoder
from gateway.schemas.openai.responses_wire import NAME, OpenAIResponsesDialect
from gateway.types import ChatEvent, ChatRequest


@dataclass(frozen=True, slots=True)
class OpenAIResponses(OpenAIResponsesDialect):
    """See `ChatDialect`."""

    name: str = NAME

    def decode_request(self, body: bytes, model: str) -> ChatRequest:
        """JSON to canonical."""
        return openai_responses_request.decode_request(body, model)

    def encode_request(self, request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        return openai_responses_request.encode_request(request, model, stream=stream, drop_unsupported=drop_unsupported)

    def decode_answer(self, body: bytes) -> Sequence[ChatEvent]:
        """A whole answer to events."""
        return AnswerDecoder().decode_whole(body)

    def event_decoder(self) -> AnswerDecoder:
        """For one stream."""
        return AnswerDecoder()

    def encode_answer(self, events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
        """Events to a whole answer."""
        return openai_responses_encoder.encode_answer(events, settings)

    def event_encoder(self, settings: AnswerSettings) -> openai_responses_encoder.ResponseEncoder:
        """For one stream."""
        return openai_responses_encoder.ResponseEncoder(settings)
