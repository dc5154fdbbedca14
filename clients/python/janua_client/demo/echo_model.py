"""A model that needs no weights: it says what it heard, and who it is. Pure; `echo_server` puts it on the network."""

import base64
import hashlib
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from janua_client.demo.openai_requests import ChatRequest, EmbeddingsRequest, Message

Json = Mapping[str, object]

DEFAULT_DIMENSIONS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What marks one answer: its id, and when it was begun in seconds since 1970."""

    id: str
    created: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoModel:
    """One model server: its name shows in every answer, so that a reader sees which of several servers spoke."""

    name: str
    models: tuple[str, ...]

    def complete(self, request: ChatRequest, stamp: Stamp) -> Json:
        """The whole answer, in the shape of OpenAI's `chat.completion`."""
        words, finish_reason = self._answer(request)
        message = {"role": "assistant", "content": "".join(words)}
        choices = [{"index": i, "message": message, "finish_reason": finish_reason} for i in range(request.n)]
        envelope = self._envelope(request, "chat.completion", stamp)
        return {**envelope, "choices": choices, "usage": _usage(request, words)}

    def stream(self, request: ChatRequest, stamp: Stamp) -> Iterator[Json]:
        """The answer word by word, in the shape of OpenAI's `chat.completion.chunk`."""
        words, finish_reason = self._answer(request)
        envelope = self._envelope(request, "chat.completion.chunk", stamp)
        deltas: list[tuple[Json, str | None]] = [
            ({"role": "assistant", "content": ""}, None),
            *(({"content": word}, None) for word in words),
            ({}, finish_reason),
        ]
        for delta, finish in deltas:
            for i in range(request.n):
                yield {**envelope, "choices": [{"index": i, "delta": delta, "finish_reason": finish}]}
        if request.stream_options is not None and request.stream_options.include_usage:
            yield {**envelope, "choices": [], "usage": _usage(request, words)}

    def embed(self, request: EmbeddingsRequest) -> Json:
        """One vector per text, in the shape of OpenAI's embeddings list."""
        texts = request.texts()
        dimensions = request.dimensions or DEFAULT_DIMENSIONS
        encode = _base64 if request.encoding_format == "base64" else list
        data = [
            {"object": "embedding", "index": i, "embedding": encode(vector(text, dimensions))}
            for i, text in enumerate(texts)
        ]
        tokens = sum(_count_tokens(text) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": request.model, "usage": usage}

    def list_models(self, created: int) -> Json:
        """The models it answers for, in the shape of OpenAI's model list."""
        data = [{"id": name, "object": "model", "created": created, "owned_by": self.name} for name in self.models]
        return {"object": "list", "data": data}

    def _answer(self, request: ChatRequest) -> tuple[Sequence[str], Literal["stop", "length"]]:
        words = split_words(f"{self.name} heard: {last_user_text(request.messages)}")
        limit = request.limit()
        if limit is not None and limit < len(words):
            return words[:limit], "length"
        return words, "stop"

    def _envelope(self, request: ChatRequest, kind: str, stamp: Stamp) -> Json:
        return {
            "id": stamp.id,
            "object": kind,
            "created": stamp.created,
            "model": request.model,
            "system_fingerprint": self.name,
        }


def last_user_text(messages: Sequence[Message]) -> str:
    """What the user said last; empty if no user spoke."""
    return next((message.text() for message in reversed(messages) if message.role == "user"), "")


def split_words(text: str) -> list[str]:
    """The text in pieces of one word, each but the first with the space before it; joined they are the text."""
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


def vector(text: str, dimensions: int) -> tuple[float, ...]:
    """A vector of length 1 that depends on the text alone. Close texts are not close: it is a hash."""
    raw = struct.unpack(f"<{dimensions}h", hashlib.shake_256(text.encode()).digest(2 * dimensions))
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return tuple(value / length for value in raw)


def _base64(values: Sequence[float]) -> str:
    """OpenAI's compact form: 32-bit little-endian floats in base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def _usage(request: ChatRequest, answer: Sequence[str]) -> Json:
    prompt = sum(_count_tokens(message.text()) for message in request.messages)
    completion = len(answer) * request.n
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _count_tokens(text: str) -> int:
    """A word is a token."""
    return len(split_words(text)) if text else 0
