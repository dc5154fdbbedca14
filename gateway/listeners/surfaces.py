"""The dialects that clients may speak over HTTP: which paths are whose, where the model is named, how errors look."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeAlias

from gateway.errors import InvalidRequestError
from gateway.listeners.error_formats import ANTHROPIC_ERRORS, COHERE_ERRORS, GEMINI_ERRORS, OLLAMA_ERRORS, OPENAI_ERRORS
from gateway.listeners.http_exchange import ErrorFormat
from gateway.operations.inference import CountTokensBody, EmbeddingsBody, RerankBody, WholeBody
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.openai.fields import read_request
from gateway.schemas.table import (
    ANTHROPIC_COUNT_TOKENS,
    ANTHROPIC_MESSAGES,
    COHERE_CHAT,
    COHERE_EMBEDDINGS,
    COHERE_RERANK,
    GEMINI,
    GEMINI_BATCH_EMBEDDINGS,
    GEMINI_COUNT_TOKENS,
    GEMINI_EMBEDDINGS,
    OLLAMA_CHAT,
    OLLAMA_EMBEDDINGS,
    OPENAI_CHAT,
    OPENAI_COMPLETIONS,
    OPENAI_EMBEDDINGS,
    OPENAI_RERANK,
    OPENAI_RESPONSES,
)
from gateway.schemas.whole_dialect import A, Q, WholeDialect
from gateway.types import Operation


@dataclass(frozen=True, slots=True)
class Head:
    """What is read of a request before anything else."""

    model: str
    is_streaming: bool
    includes_usage: bool = True


# Surfaces are the keys of listeners, for every request: by identity, since hashing one hashes all of its dialect.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChatSurface:
    """Conversations whose body names the model. `streams_by_default`: where the body does not say."""

    dialect: ChatDialect
    errors: ErrorFormat
    streams_by_default: bool = False
    usage_on_demand: bool = False

    def read_head(self, path: str, query: Mapping[str, str], body: bytes) -> Head:
        """The head. Raises `InvalidRequestError`."""
        head = read_request(body)
        is_streaming = self.streams_by_default if head.stream is None else head.stream
        return Head(head.model, is_streaming, includes_usage=not self.usage_on_demand or head.wants_usage)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeSurface(Generic[Q, A]):
    """What is answered whole, asked in a body that names the model. `asks` makes the request of such a body."""

    asks: type[WholeBody[Q, A]]
    dialect: WholeDialect[Q, A]
    errors: ErrorFormat

    def read_head(self, path: str, query: Mapping[str, str], body: bytes) -> Head:
        """The head. Raises `InvalidRequestError`."""
        return Head(read_request(body).model, is_streaming=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GeminiChatSurface(ChatSurface):
    """Conversations whose path names the model and says whether to stream."""

    is_streaming: bool

    def read_head(self, path: str, query: Mapping[str, str], body: bytes) -> Head:
        """The head. Raises `InvalidRequestError`."""
        if self.is_streaming and query.get("alt") != "sse":
            raise InvalidRequestError("streams are served as events only: add alt=sse to the query", param="alt")
        return Head(_model_of(path), self.is_streaming)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GeminiWholeSurface(WholeSurface[Q, A]):
    """What is answered whole, asked at a path that names the model."""

    def read_head(self, path: str, query: Mapping[str, str], body: bytes) -> Head:
        """The head. Raises `InvalidRequestError`."""
        return Head(_model_of(path), is_streaming=False)


def _model_of(path: str) -> str:
    """The model in `/v1beta/models/MODEL:method`. Raises `InvalidRequestError`."""
    model = path.partition("/models/")[2].rpartition(":")[0]
    if not model:
        raise InvalidRequestError("the path must name a model: /v1beta/models/MODEL:generateContent", param="model")
    return model


Surface: TypeAlias = ChatSurface | WholeSurface[Any, Any]

SURFACES: Mapping[str, Surface] = MappingProxyType(
    {
        "/v1/chat/completions": ChatSurface(dialect=OPENAI_CHAT, errors=OPENAI_ERRORS, usage_on_demand=True),
        "/v1/responses": ChatSurface(dialect=OPENAI_RESPONSES, errors=OPENAI_ERRORS),
        "/v1/completions": ChatSurface(dialect=OPENAI_COMPLETIONS, errors=OPENAI_ERRORS, usage_on_demand=True),
        "/v1/embeddings": WholeSurface(asks=EmbeddingsBody, dialect=OPENAI_EMBEDDINGS, errors=OPENAI_ERRORS),
        "/v1/rerank": WholeSurface(asks=RerankBody, dialect=OPENAI_RERANK, errors=OPENAI_ERRORS),
        "/v1/messages": ChatSurface(dialect=ANTHROPIC_MESSAGES, errors=ANTHROPIC_ERRORS),
        "/v1/messages/count_tokens": WholeSurface(
            asks=CountTokensBody, dialect=ANTHROPIC_COUNT_TOKENS, errors=ANTHROPIC_ERRORS
        ),
        "/v2/chat": ChatSurface(dialect=COHERE_CHAT, errors=COHERE_ERRORS),
        "/v2/embed": WholeSurface(asks=EmbeddingsBody, dialect=COHERE_EMBEDDINGS, errors=COHERE_ERRORS),
        "/v2/rerank": WholeSurface(asks=RerankBody, dialect=COHERE_RERANK, errors=COHERE_ERRORS),
        "/api/chat": ChatSurface(dialect=OLLAMA_CHAT, errors=OLLAMA_ERRORS, streams_by_default=True),
        "/api/embed": WholeSurface(asks=EmbeddingsBody, dialect=OLLAMA_EMBEDDINGS, errors=OLLAMA_ERRORS),
    }
)
"""By path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayedSurface:
    """An operation of OpenAI's API that is passed through. `names_model`: its requests are for a model and routed by
    it, even where they name none and leave the choice to the backend; others are routed by their path alone."""

    operation: Operation
    methods: frozenset[str] = frozenset({"POST"})
    names_model: bool = True


_FILES = RelayedSurface(operation=Operation.FILES, methods=frozenset({"GET", "POST", "DELETE"}), names_model=False)
_BATCHES = RelayedSurface(operation=Operation.BATCHES, methods=frozenset({"GET", "POST"}), names_model=False)

RELAYED_SURFACES: Mapping[str, RelayedSurface] = MappingProxyType(
    {
        **{
            f"/v1/images/{kind}": RelayedSurface(operation=Operation.IMAGES)
            for kind in ("generations", "edits", "variations")
        },
        **{
            f"/v1/audio/{kind}": RelayedSurface(operation=Operation.AUDIO)
            for kind in ("speech", "transcriptions", "translations")
        },
        "/v1/moderations": RelayedSurface(operation=Operation.MODERATIONS),
        "/v1/files": _FILES,
        "/v1/batches": _BATCHES,
    }
)
"""By path."""

GEMINI_PREFIXES = ("/v1beta/models/", "/v1/models/")

GEMINI_SURFACES: Mapping[str, Surface] = MappingProxyType(
    {
        "generateContent": GeminiChatSurface(dialect=GEMINI, errors=GEMINI_ERRORS, is_streaming=False),
        "streamGenerateContent": GeminiChatSurface(dialect=GEMINI, errors=GEMINI_ERRORS, is_streaming=True),
        "countTokens": GeminiWholeSurface(asks=CountTokensBody, dialect=GEMINI_COUNT_TOKENS, errors=GEMINI_ERRORS),
        "batchEmbedContents": GeminiWholeSurface(
            asks=EmbeddingsBody, dialect=GEMINI_BATCH_EMBEDDINGS, errors=GEMINI_ERRORS
        ),
        "embedContent": GeminiWholeSurface(asks=EmbeddingsBody, dialect=GEMINI_EMBEDDINGS, errors=GEMINI_ERRORS),
    }
)
"""By what follows the model's name in a path: `/v1beta/models/MODEL:generateContent`."""


def find_surface(path: str) -> Surface | None:
    """Whose path it is, if it is anybody's."""
    surface = SURFACES.get(path)
    if surface is None and ":" in path and path.startswith(GEMINI_PREFIXES):
        return GEMINI_SURFACES.get(path.rpartition(":")[2])
    return surface


def find_relayed_surface(path: str, headers: Iterable[tuple[bytes, bytes]]) -> RelayedSurface | None:
    """Which of OpenAI's operations a path is, if it is one. Files of Anthropic's clients are not OpenAI's."""
    surface = RELAYED_SURFACES.get(path)
    if surface is None and path.startswith(("/v1/files/", "/v1/batches/")):
        surface = _FILES if path.startswith("/v1/files/") else _BATCHES
    if surface is _FILES and any(name == b"anthropic-version" for name, _ in headers):
        return None
    return surface
