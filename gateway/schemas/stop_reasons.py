"""Why an answer ended, in canonical words and in those of Anthropic, which Bedrock shares but for what was filtered."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.types import FinishReason

# What is not here, such as `pause_turn` and `malformed_tool_use`, has no canonical word.
_REASONS: Mapping[str, FinishReason] = MappingProxyType(
    {
        "end_turn": FinishReason.STOP,
        "stop_sequence": FinishReason.STOP,
        "max_tokens": FinishReason.LENGTH,
        "model_context_window_exceeded": FinishReason.LENGTH,
        "tool_use": FinishReason.TOOL_CALLS,
    }
)


class StopReasons:
    """The words of one of them."""

    def __init__(self, filtered: str, *others: str) -> None:
        """`filtered` is written where content was filtered or refused; `others` are read like it."""
        self._filtered = filtered
        self._reasons = {**_REASONS, **dict.fromkeys((filtered, *others), FinishReason.CONTENT_FILTER)}

    def read(self, stop_reason: str) -> FinishReason | None:
        """The canonical word; None for a reason that has none."""
        return self._reasons.get(stop_reason)

    def write(
        self, reason: FinishReason | None, stop_sequence: str | None, *, has_calls: bool, is_refused: bool
    ) -> str:
        """The dialect's word.

        Some backends call an answer with calls or a refusal a plain stop; clients of this dialect look for the reason.
        """
        match reason:
            case FinishReason.LENGTH:
                return "max_tokens"
            case FinishReason.CONTENT_FILTER:
                return self._filtered
            case FinishReason.TOOL_CALLS:
                return "tool_use"
            case FinishReason.STOP | None:
                if has_calls:
                    return "tool_use"
                if is_refused:
                    return self._filtered
                return "end_turn" if stop_sequence is None else "stop_sequence"


ANTHROPIC = StopReasons("refusal")
BEDROCK = StopReasons("content_filtered", "guardrail_intervened")
