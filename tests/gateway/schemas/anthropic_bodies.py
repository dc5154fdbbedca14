"""Requests in Anthropic's form for tests: short to write, and brought into one form to be compared."""

import json
from collections.abc import Mapping
from typing import Any

from gateway.schemas.anthropic.messages import AnthropicMessages
from gateway.types import ChatRequest, Message, Role, TextPart

MESSAGES = AnthropicMessages()
HI = Message(role=Role.USER, content=(TextPart(text="hi"),))


def body(**fields: Any) -> dict[str, Any]:
    """A request with one word of the user, and more fields."""
    return {"max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **fields}


def decode(fields: Mapping[str, Any]) -> ChatRequest:
    """What a body means."""
    return MESSAGES.decode_request(json.dumps(fields).encode(), "asked")


def encode(request: ChatRequest, *, model: str = "sent", drop: bool = False, stream: bool = False) -> Any:
    """The body of a request."""
    return json.loads(MESSAGES.encode_request(request, model, stream=stream, drop_unsupported=drop))


def uniform(body: Mapping[str, Any]) -> Any:
    """A body such that two of the same meaning are equal: texts in blocks, nothing that goes without saying."""
    fields = _without_defaults(body)
    fields.pop("model", None)
    for name in ("stream", "tools"):
        if not fields.get(name):
            fields.pop(name, None)
    if "system" in fields:
        fields["system"] = _as_blocks(fields["system"])
    for message in fields["messages"]:
        message["content"] = _as_blocks(message["content"])
    return fields


_DEFAULTS: tuple[tuple[str, Any], ...] = (("caller", {"type": "direct"}), ("ttl", "5m"), ("is_error", False))


def _without_defaults(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_defaults(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _without_defaults(item)
        for name, item in value.items()
        if item is not None and (name, item) not in _DEFAULTS
    }


def _as_blocks(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
