"""Ollama's own API as dialects: chat and embeddings, relayed as they are, and translated."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.config.snapshot import Failure
from gateway.errors import InvalidRequestError
from gateway.framing.framing import NDJSON, Framing
from gateway.schemas.chat_dialect import AnswerSettings
from gateway.schemas.dialect import EventKind
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.malformed import malformed
from gateway.schemas.ollama import answer as ollama_answer
from gateway.schemas.ollama import encoder as ollama_encoder
from gateway.schemas.ollama import request as ollama_request
from gateway.schemas.ollama.answer import LineDecoder, line_decoder
from gateway.schemas.ollama.encoder import LineEncoder
from gateway.schemas.openai import fields as openai_fields
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.posted import PostedToOnePath
from gateway.schemas.unsupported import Unsupported
from gateway.types import ChatEvent, ChatRequest, EmbeddingsAnswer, EmbeddingsRequest, Usage

_DONE = re.compile(rb'"done"\s*:\s*true')
_WORDS = (
    ("context length", Failure.CONTEXT_LENGTH),
    ("context window", Failure.CONTEXT_LENGTH),
    ("server busy", Failure.OVERLOADED),
    ("overloaded", Failure.OVERLOADED),
)


class _ErrorBody(msgspec.Struct):
    error: str


_error_decoder = msgspec.json.Decoder(_ErrorBody)


@dataclass(frozen=True, slots=True)
class OllamaDialect(PostedToOnePath):
    """One operation of Ollama's API."""

    framing: Framing = NDJSON
    headers: Sequence[tuple[str, str]] = ()
    error_family: str = "ollama"
    tail_bytes: int = 4096

    def classify_event(self, data: bytes, event: str) -> EventKind:
        """Content is text, thinking, a call or the end."""
        try:
            line = line_decoder.decode(data)
        except UNREADABLE as error:
            raise ValueError(str(error)) from None
        if line.error is not None:
            return EventKind.ERROR
        message = line.message
        has_content = message is not None and (message.content or message.thinking or message.tool_calls)
        return EventKind.CONTENT if line.done or has_content else EventKind.PREAMBLE

    def is_complete(self, tail: bytes) -> bool:
        """The last line says that it is."""
        return _DONE.search(tail) is not None

    def read_stream_usage(self, ends: bytes) -> Usage | None:
        """The usage in the last line."""
        for line in reversed(ends.rstrip(b"\n").split(b"\n")):
            if (usage := self.read_usage(line)) is not None:
                return usage
        return None

    def read_usage(self, body: bytes) -> Usage | None:
        """The usage of a whole answer, or of the last line."""
        try:
            return line_decoder.decode(body).usage
        except UNREADABLE:
            return None

    def read_error(self, body: bytes) -> str | None:
        """The text of `{"error": "…"}`."""
        try:
            return _error_decoder.decode(body).error
        except UNREADABLE:
            return None

    def classify_error(self, body: bytes) -> Failure | None:
        """The class that the words of an error tell."""
        text = (self.read_error(body) or "").lower()
        return next((failure for words, failure in _WORDS if words in text), None)

    def with_model(self, body: bytes, model: str) -> bytes:
        """The answer, or line, with another `model`."""
        return openai_fields.replace_model(body, model)


@dataclass(frozen=True, slots=True)
class OllamaChat(OllamaDialect):
    """See `ChatDialect`."""

    posted_to: str = "/api/chat"
    name: str = ollama_request.NAME

    def decode_request(self, body: bytes, model: str) -> ChatRequest:
        """JSON to canonical."""
        return ollama_request.decode_request(body, model)

    def encode_request(self, request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        return ollama_request.encode_request(request, model, stream=stream, drop_unsupported=drop_unsupported)

    def decode_answer(self, body: bytes) -> Sequence[ChatEvent]:
        """A whole answer to events."""
        return ollama_answer.decode_answer(body)

    def event_decoder(self) -> LineDecoder:
        """For one stream."""
        return LineDecoder()

    def encode_answer(self, events: Iterable[ChatEvent], settings: AnswerSettings) -> bytes:
        """Events to a whole answer."""
        return ollama_encoder.encode_answer(events, settings)

    def event_encoder(self, settings: AnswerSettings) -> LineEncoder:
        """For one stream."""
        return LineEncoder(settings)


class _Vectors(msgspec.Struct):
    embeddings: list[list[float]]
    model: str | None = None
    prompt_eval_count: int | None = None


_vectors_decoder = msgspec.json.Decoder(_Vectors)


@dataclass(frozen=True, slots=True)
class OllamaEmbeddings(OllamaDialect):
    """See `EmbeddingsDialect`."""

    posted_to: str = "/api/embed"
    name: str = "ollama_embed"

    def decode_request(self, body: bytes, model: str) -> EmbeddingsRequest:
        """JSON to canonical."""
        try:
            fields = Fields.parse(body)
            fields.value("model")
            texts = fields.value("input")
            if isinstance(texts, str):
                texts = [texts]
            if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
                raise fields.wrong("input", "a text or an array of texts is needed")
            return EmbeddingsRequest(
                model=model,
                input=tuple(texts),
                dimensions=fields.integer("dimensions"),
                dialect=self.name,
                extra=fields.extra or None,
            )
        except FieldError as error:
            raise InvalidRequestError(str(error), param=error.param or None) from None

    def encode_request(self, request: EmbeddingsRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        unsupported = Unsupported("Ollama's embeddings", drop=drop_unsupported)
        fields: dict[str, Any] = {"model": model, "input": request.input}
        if request.dimensions is not None:
            fields["dimensions"] = request.dimensions
        if request.user is not None:
            unsupported.field("user")
        for name, value in (request.extra or {}).items():
            if request.dialect == self.name:
                fields.setdefault(name, value)
            else:
                unsupported.field(name)
        return msgspec.json.encode(fields)

    def decode_answer(self, body: bytes) -> EmbeddingsAnswer:
        """JSON to vectors."""
        try:
            answer = _vectors_decoder.decode(body)
        except UNREADABLE as error:
            raise malformed(error) from None
        usage = Usage(input_tokens=max(answer.prompt_eval_count or 0, 0))
        vectors = tuple(tuple(vector) for vector in answer.embeddings)
        return EmbeddingsAnswer(model=answer.model or "", vectors=vectors, usage=usage)

    def encode_answer(self, answer: EmbeddingsAnswer, request: EmbeddingsRequest, model: str) -> bytes:
        """Vectors to JSON."""
        return msgspec.json.encode(
            {
                "model": model,
                "embeddings": answer.vectors,
                "total_duration": 0,
                "load_duration": 0,
                "prompt_eval_count": answer.usage.input_tokens,
            }
        )
