"""Bedrock's Converse as a dialect: relayed as it is, and translated."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.schemas.bedrock import answer as bedrock_answer
from gateway.schemas.bedrock import encoder as bedrock_encoder
from gateway.schemas.bedrock import request as bedrock_request
from gateway.schemas.bedrock.wire import NAME, BedrockDialect
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.types import ChatEvent, ChatRequest


@dataclass(frozen=True, slots=True)
class BedrockConverse(BedrockDialect):
    """See `ChatDialect`."""

    name: str = NAME

    def decode_request(self, body: bytes, model: str) -> ChatRequest:
        """JSON to canonical."""
        return bedrock_request.decode_request(body, model)

    def encode_request(self, request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        return bedrock_request.encode_request(request, model, drop_unsupported=drop_unsupported)

    def decode_answer(self, body: bytes) -> Sequence[ChatEvent]:
        """A whole answer to events."""
        return bedrock_answer.decode_answer(body)

    def event_decoder(self) -> bedrock_answer.EventDecoder:
        """For one stream."""
        return bedrock_answer.EventDecoder()

    def encode_answer(self, events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
        """Events to a whole answer."""
        return bedrock_encoder.encode_answer(events, settings)

    def event_encoder(self, settings: AnswerSettings) -> bedrock_encoder.EventEncoder:
        """For one stream."""
        return bedrock_encoder.EventEncoder(settings)
