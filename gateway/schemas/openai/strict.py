"""OpenAI's chat completions as Mistral and Groq have them, who refuse each field that they do not know.

Sources: the models of Mistral's client for Python, `mistralai` 3.7; console.groq.com/docs/openai, and what Groq answers
to thoughts, "property 'reasoning_content' is unsupported".
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.schemas.openai.chat import OpenAIChat
from gateway.schemas.unsupported import Unsupported
from gateway.types import ChatRequest


@dataclass(frozen=True, slots=True)
class MistralChat(OpenAIChat):
    """See `ChatDialect`. Answers are OpenAI's."""

    def with_request_model(self, body: bytes, asked: str, model: str) -> bytes:
        """What OpenAI's clients send passes, but for two fields that mean what Mistral does otherwise."""
        body = OpenAIChat.with_request_model(self, body, asked, model)
        if b'"stream_options"' not in body and b'"seed"' not in body:
            return body
        fields = _raw_decoder.decode(body)
        _rename_fields(fields)
        return msgspec.json.encode(fields)

    def encode_request(self, request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        body = OpenAIChat.encode_request(self, request, model, stream=stream, drop_unsupported=drop_unsupported)
        fields: dict[str, Any] = msgspec.json.decode(body)
        unsupported = Unsupported("Mistral's chat completions", drop=drop_unsupported)
        _rename_fields(fields)
        if fields.pop("user", None) is not None:
            unsupported.field("user")
        for message in fields["messages"]:
            _rewrite(message, unsupported)
        return msgspec.json.encode(fields)


@dataclass(frozen=True, slots=True)
class GroqChat(OpenAIChat):
    """See `ChatDialect`. Answers are OpenAI's. Thoughts of earlier turns are left out."""

    def encode_request(self, request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        body = OpenAIChat.encode_request(self, request, model, stream=stream, drop_unsupported=drop_unsupported)
        fields: dict[str, Any] = msgspec.json.decode(body)
        unsupported = Unsupported("Groq's chat completions", drop=drop_unsupported)
        if fields.pop("top_k", None) is not None:
            unsupported.field("top_k")
        for message in fields["messages"]:
            _strip(message, unsupported)
            message.pop("reasoning_content", None)
            if (refusal := message.pop("refusal", None)) is not None:
                message["content"] = message.get("content") or refusal
        return msgspec.json.encode(fields)


_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _rename_fields(fields: dict[str, Any]) -> None:
    fields.pop("stream_options", None)  # streams tell their usage unasked
    if "seed" in fields:
        fields["random_seed"] = fields.pop("seed")


def _rewrite(message: dict[str, Any], unsupported: Unsupported) -> None:
    """A message for Mistral. Thoughts are parts of the content, and nobody signs them."""
    _strip(message, unsupported)
    thought, refusal = message.pop("reasoning_content", None), message.pop("refusal", None)
    if thought or refusal:
        told = message.get("content") or []
        parts = [{"type": "text", "text": told}] if isinstance(told, str) else told
        before = [{"type": "thinking", "thinking": [{"type": "text", "text": thought}]}] if thought else []
        message["content"] = [*before, *parts, *([{"type": "text", "text": refusal}] if refusal else [])]


def _strip(message: dict[str, Any], unsupported: Unsupported) -> None:
    """Takes out of a message what neither of them knows."""
    if message.pop("name", None) is not None and message["role"] != "tool":
        unsupported.field("messages", "the name of who speaks")
    message.pop("reasoning_details", None)
    for call in message.get("tool_calls") or ():
        call.pop("extra_content", None)
