"""What whole and streamed answers of Anthropic's messages have in common when they are written."""

import hashlib
from typing import Any

from gateway.schemas.anthropic.call_details import carrier_block, is_own, unpack_details
from gateway.schemas.anthropic.usage import usage_fields
from gateway.types import AnswerStarted, Usage


def message_fields(started: AnswerStarted | None, model: str, usage: Usage | None) -> dict[str, Any]:
    """An answer without content that has not ended."""
    return {
        "id": started.id if started is not None else "",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_fields(usage or Usage()),
    }


def call_block(call_id: str, name: str, signature: str, given: Any) -> dict[str, Any]:
    """A call with its details; `given` is its input."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": given, **unpack_details(signature or None)}


def signature_carrier(call_id: str, signature: str) -> dict[str, Any] | None:
    """The block that carries the signature of a call, where the call's own block has no place for it."""
    return carrier_block(call_id, signature) if signature and not is_own(signature) else None


def made_call_id(started: AnswerStarted | None, index: int) -> str:
    """An id for a call that came without one, the same each time."""
    answer = started.id if started is not None else ""
    return "toolu_" + hashlib.sha256(f"{answer}/{index}".encode()).hexdigest()[:24]
