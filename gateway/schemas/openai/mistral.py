"""OpenAI's chat completions as Mistral has them: it refuses each field that it does not know.

Source: the models of its client for Python, `mistralai` 3.7.
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


_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _rename_fields(fields: dict[str, Any]) -> None:
    fields.pop("stream_options", None)  # streams tell their usage unasked
    if "seed" in fields:
        fields["random_seed"] = fields.pop("seed")


def _rewrite(message: dict[str, Any], unsupported: Unsupported) -> None:
    """A message without what Mistral would refuse. Thoughts are parts of the content, and nobody signs them."""
    if message.pop("name", None) is not None and message["role"] != "tool":
        unsupported.field("messages", "the name of who speaks")
    message.pop("reasoning_details", None)
    thought, refusal = message.pop("reasoning_content", None), message.pop("refusal", None)
    if thought or refusal:
        told = message.get("content") or []
        parts = [{"type": "text", "text": told}] if isinstance(told, str) else told
        before = [{"type": "thinking", "thinking": [{"type": "text", "text": thought}]}] if thought else []
        message["content"] = [*before, *parts, *([{"type": "text", "text": refusal}] if refusal else [])]
    for call in message.get("tool_calls") or ():
        call.pop("extra_content", None)
