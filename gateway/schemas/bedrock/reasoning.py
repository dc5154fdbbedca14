"""Thoughts in Bedrock's blocks, and what a request asks of thinking in the fields that each model has of its own."""

import base64
import binascii
from typing import Any

from gateway.schemas.anthropic.thinking import encode_thinking
from gateway.schemas.bedrock.wire import NAME
from gateway.schemas.json_fields import Fields
from gateway.schemas.unsupported import Unsupported
from gateway.types import ChatRequest, NamedTool, Reasoning, ReasoningEffort, ReasoningPart, ToolMode

# A redacted thought of Claude is text for Anthropic, the base64 of that for Bedrock; of other models anything.
_BYTES = "bedrock:"

_NOVA_EFFORTS = {
    ReasoningEffort.MINIMAL: "low",
    ReasoningEffort.LOW: "low",
    ReasoningEffort.MEDIUM: "medium",
    ReasoningEffort.HIGH: "high",
    ReasoningEffort.XHIGH: "high",
}


def read_redacted(written: str) -> str:
    """A thought that only the backend can read, as its model wrote it."""
    try:
        return base64.b64decode(written, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return _BYTES + written


def write_redacted(data: str) -> str:
    """The same as Bedrock has it."""
    return data.removeprefix(_BYTES) if data.startswith(_BYTES) else base64.b64encode(data.encode()).decode()


def decode_reasoning(fields: Fields) -> ReasoningPart:
    """The thought in a `reasoningContent` block."""
    if (redacted := fields.optional_text("redactedContent")) is not None:
        return ReasoningPart(redacted=read_redacted(redacted))
    thought = fields.object("reasoningText")
    return ReasoningPart(text=thought.text("text", ""), signature=thought.optional_text("signature") or None)


def encode_reasoning(part: ReasoningPart) -> dict[str, Any]:
    """The block of a thought."""
    if part.redacted is not None:
        return {"reasoningContent": {"redactedContent": write_redacted(part.redacted)}}
    thought = {"text": part.text}
    return {
        "reasoningContent": {
            "reasoningText": thought if not part.signature else {**thought, "signature": part.signature}
        }
    }


def is_claude(model: str) -> bool:
    """Whether a model's id, or ARN, tells that it is one of Anthropic's."""
    return "anthropic" in model or "claude" in model


def is_nova(model: str) -> bool:
    """The same of Amazon's Nova."""
    return "nova-" in model


def decode_thinking(own: dict[str, Any]) -> Reasoning | None:
    """What the fields of a model say of thinking; what is understood is taken out of them."""
    match own.get("thinking"):
        case {"type": "enabled", "budget_tokens": int(budget), **rest} if not rest:
            reasoning = Reasoning(budget_tokens=budget)
        case {"type": "adaptive", **rest} if not rest:
            reasoning = Reasoning(budget_tokens=-1)
        case {"type": "disabled", **rest} if not rest:
            reasoning = Reasoning(effort=ReasoningEffort.NONE)
        case _:
            return None
    del own["thinking"]
    return reasoning


def add_thinking(own: dict[str, Any], request: ChatRequest, model: str, unsupported: Unsupported) -> str | None:
    """Puts what is asked of thinking into the fields of the model; gives the effort, which has a field of its own."""
    reasoning = request.reasoning
    if reasoning is None or (reasoning.effort is None and reasoning.budget_tokens is None):
        return None
    is_own = request.dialect == NAME
    if is_claude(model) or (is_own and reasoning.budget_tokens is not None):
        # AWS documents no way to have thoughts shown.
        thinking = encode_thinking(
            reasoning, model, is_own=is_own, max_tokens=request.max_output_tokens, can_show=False
        )
        if thinking.is_on and not is_own and _must_call(request):
            unsupported.field("reasoning", "thinking before a call that must be made")
            return None
        if thinking.config is not None:
            own.setdefault("thinking", thinking.config)
        return thinking.effort
    is_off = reasoning.effort is ReasoningEffort.NONE or reasoning.budget_tokens == 0
    if is_nova(model):
        config = {"type": "disabled"} if is_off else {"type": "enabled", "maxReasoningEffort": _nova_effort(reasoning)}
        own.setdefault("reasoningConfig", config)
    elif not is_off:
        unsupported.field("reasoning", "how much this model is to think")
    return None


def _must_call(request: ChatRequest) -> bool:
    return request.tool_choice is ToolMode.REQUIRED or isinstance(request.tool_choice, NamedTool)


def _nova_effort(reasoning: Reasoning) -> str:
    if reasoning.effort is not None:
        return _NOVA_EFFORTS[reasoning.effort]
    budget = reasoning.budget_tokens or 0
    if budget < 0:
        return "medium"
    return "low" if budget <= 2048 else "medium" if budget <= 8192 else "high"
