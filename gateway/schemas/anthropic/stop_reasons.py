"""Why an answer ended, in Anthropic's words and in canonical ones."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.types import FinishReason

# What is not here, such as `pause_turn`, has no canonical word.
_REASONS: Mapping[str, FinishReason] = MappingProxyType(
    {
        "end_turn": FinishReason.STOP,
        "stop_sequence": FinishReason.STOP,
        "max_tokens": FinishReason.LENGTH,
        "model_context_window_exceeded": FinishReason.LENGTH,
        "tool_use": FinishReason.TOOL_CALLS,
        "refusal": FinishReason.CONTENT_FILTER,
    }
)


def finish_reason(stop_reason: str) -> FinishReason | None:
    """The canonical word; None for a reason that has none."""
    return _REASONS.get(stop_reason)


def stop_reason(reason: FinishReason | None, stop_sequence: str | None, *, has_calls: bool, is_refused: bool) -> str:
    """Anthropic's word.

    Some backends call an answer with calls or a refusal a plain stop; clients of this dialect look for the reason.
    """
    match reason:
        case FinishReason.LENGTH:
            return "max_tokens"
        case FinishReason.CONTENT_FILTER:
            return "refusal"
        case FinishReason.TOOL_CALLS:
            return "tool_use"
        case FinishReason.STOP | None:
            if has_calls:
                return "tool_use"
            if is_refused:
                return "refusal"
            return "end_turn" if stop_sequence is None else "stop_sequence"
