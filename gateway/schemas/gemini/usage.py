"""Usage as Gemini writes it: thoughts stand beside the candidates, what tools read beside the prompt."""

from typing import Any

import msgspec

from gateway.types import Usage

_MAX_TOKENS = 2**63 - 1
_AUDIO = ("AUDIO", 4)  # as a name or, where enums are asked for as numbers, as one


class UsageFields(msgspec.Struct, rename="camel"):
    """A `usageMetadata`."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    prompt_tokens_details: Any = None
    candidates_tokens_details: Any = None

    def to_usage(self) -> Usage:
        """The canonical usage."""
        return Usage(
            input_tokens=_count(self.prompt_token_count) + _count(self.tool_use_prompt_token_count),
            output_tokens=_count(self.candidates_token_count) + _count(self.thoughts_token_count),
            cached_input_tokens=_count(self.cached_content_token_count),
            reasoning_tokens=_count(self.thoughts_token_count),
            audio_input_tokens=_audio(self.prompt_tokens_details),
            audio_output_tokens=_audio(self.candidates_tokens_details),
        )


def _count(tokens: int | None) -> int:
    return min(max(tokens or 0, 0), _MAX_TOKENS)


def _audio(details: object) -> int:
    for detail in details if isinstance(details, list) else ():
        match detail:
            case {"modality": modality, "tokenCount": int(tokens)} if modality in _AUDIO:
                return _count(tokens)
    return 0


def usage_fields(usage: Usage) -> dict[str, Any]:
    """The `usageMetadata`. What was written to a cache has no field of its own here: it is part of the prompt."""
    fields: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if usage.reasoning_tokens:
        fields["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cached_input_tokens:
        fields["cachedContentTokenCount"] = usage.cached_input_tokens
    if usage.audio_input_tokens:
        fields["promptTokensDetails"] = _details(usage.input_tokens, usage.audio_input_tokens)
    if usage.audio_output_tokens:
        fields["candidatesTokensDetails"] = _details(
            usage.output_tokens - usage.reasoning_tokens, usage.audio_output_tokens
        )
    return fields


def _details(tokens: int, of_sound: int) -> list[dict[str, Any]]:
    """The tokens by modality; what is no sound may be anything, and counts as text."""
    details = [{"modality": "AUDIO", "tokenCount": of_sound}]
    return [{"modality": "TEXT", "tokenCount": tokens - of_sound}, *details] if tokens > of_sound else details
