"""Which dialect understands each recorded exchange. An API that nobody has entered here is an error, so that a new
recording is either understood or said not to be."""

import base64
import json
from collections.abc import Mapping
from types import MappingProxyType

from gateway.framing.framing import AWS_EVENT_STREAM
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.table import (
    ANTHROPIC_MESSAGES,
    BEDROCK_CONVERSE,
    COHERE_CHAT,
    COHERE_EMBEDDINGS,
    GEMINI,
    GEMINI_BATCH_EMBEDDINGS,
    OLLAMA_CHAT,
    OPENAI_CHAT,
    OPENAI_COMPLETIONS,
    OPENAI_EMBEDDINGS,
    OPENAI_RESPONSES,
)
from gateway.schemas.whole_dialect import EmbeddingsDialect
from gateway.types import ChatEvent
from tests.support.recordings import Recording

CHAT: Mapping[str, ChatDialect] = MappingProxyType(
    {
        "api-chat": OLLAMA_CHAT,
        "chat-completions": OPENAI_CHAT,
        "completions": OPENAI_COMPLETIONS,
        "converse": BEDROCK_CONVERSE,
        "converse-stream": BEDROCK_CONVERSE,
        "generateContent": GEMINI,
        "messages": ANTHROPIC_MESSAGES,
        "responses": OPENAI_RESPONSES,
        "streamGenerateContent": GEMINI,
        "v2-chat": COHERE_CHAT,
    }
)
"""APIs of conversations."""

EMBEDDINGS: Mapping[str, EmbeddingsDialect] = MappingProxyType(
    {
        "batchEmbedContents": GEMINI_BATCH_EMBEDDINGS,
        "embeddings": OPENAI_EMBEDDINGS,
        "v2-embed": COHERE_EMBEDDINGS,
    }
)
"""APIs of vectors."""

INVOKE = frozenset({"invoke", "invoke-with-response-stream"})
"""Bedrock's APIs that carry what the models' makers have: Anthropic's messages, or something that only is relayed."""

RELAYED = frozenset(
    {"count-tokens", "countTokens", "models", "responses-input-tokens", "v2-rerank", *INVOKE},
)
"""APIs, or some of the exchanges of one, that are neither conversations nor vectors: services that pass them through do
not look into them. Counting of tokens and ranking have tests of their own."""


def chat_dialect(recording: Recording) -> ChatDialect | None:
    """The dialect of a recorded conversation; None if it is none."""
    if recording.api in INVOKE and "anthropic_version" in recording.request:
        return ANTHROPIC_MESSAGES
    return CHAT.get(recording.api)


def embeddings_dialect(recording: Recording) -> EmbeddingsDialect | None:
    """The dialect of recorded vectors; None if it are none."""
    return EMBEDDINGS.get(recording.api)


def groups_of(recording: Recording, dialect: ChatDialect) -> list[list[ChatEvent]]:
    """The events of a recorded answer, as they came together."""
    if not recording.is_streaming or recording.content_type.startswith("application/json"):
        return [list(dialect.decode_answer(recording.answer))]
    decoder = dialect.event_decoder()
    return [list(decoder.decode(event)) for event in stream_events(recording, dialect)]


def stream_events(recording: Recording, dialect: ChatDialect) -> list[ServerSentEvent]:
    """The events of a recorded stream, in the framing of the dialect."""
    if recording.api not in INVOKE:
        return list(dialect.framing.parser().feed(recording.answer))
    # Each frame has one event of the model's maker in it, in base64.
    frames = AWS_EVENT_STREAM.parser().feed(recording.answer)
    return [ServerSentEvent(base64.b64decode(json.loads(frame.data)["bytes"]), "", frame.raw) for frame in frames]
