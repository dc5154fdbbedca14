"""OpenAI's older completions as a dialect: relayed as they are, and translated as one message of the user."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.dialect import EventKind
from gateway.schemas.openai import completions_answer as openai_completions_answer
from gateway.schemas.openai import completions_encoder as openai_completions_encoder
from gateway.schemas.openai import completions_request as openai_completions_request
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.openai.wire import OpenAIDialect
from gateway.types import ChatEvent, ChatRequest


class _Choice(msgspec.Struct):
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    error: object = None


_chunk_decoder = msgspec.json.Decoder(_Chunk)


@dataclass(frozen=True, slots=True)
class OpenAICompletions(OpenAIDialect):
    """See `ChatDialect`."""

    posted_to: str = "/v1/completions"
    name: str = openai_completions_request.NAME

    def classify_event(self, data: bytes, event: str) -> EventKind:
        """Content is text or a finish reason."""
        if event == "error":
            return EventKind.ERROR
        if not data:
            return EventKind.PREAMBLE
        if data == b"[DONE]":
            return EventKind.CONTENT
        try:
            chunk = _chunk_decoder.decode(data)
        except UNREADABLE as error:
            raise ValueError(str(error)) from None
        if chunk.error is not None:
            return EventKind.ERROR
        says = any(choice.text or choice.finish_reason for choice in chunk.choices or ())
        return EventKind.CONTENT if says else EventKind.PREAMBLE

    def decode_request(self, body: bytes, model: str) -> ChatRequest:
        """JSON to canonical."""
        return openai_completions_request.decode_request(body, model)

    def encode_request(self, request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        return openai_completions_request.encode_request(
            request, model, stream=stream, drop_unsupported=drop_unsupported
        )

    def decode_answer(self, body: bytes) -> Sequence[ChatEvent]:
        """A whole answer to events."""
        return openai_completions_answer.AnswerDecoder().decode_data(body)

    def event_decoder(self) -> openai_completions_answer.AnswerDecoder:
        """For one stream."""
        return openai_completions_answer.AnswerDecoder()

    def encode_answer(self, events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
        """Events to a whole answer."""
        return openai_completions_encoder.encode_answer(events, settings)

    def event_encoder(self, settings: AnswerSettings) -> openai_completions_encoder.ChunkEncoder:
        """For one stream."""
        return openai_completions_encoder.ChunkEncoder(settings)
