"""Usage as Bedrock writes it, where cached tokens stand beside the input: to canonical and back."""

from typing import Any

import msgspec

from gateway.types import Usage

_MAX_TOKENS = 2**63 - 1


class UsageFields(msgspec.Struct, rename="camel"):
    """The tokens of an answer; a stream tells them in its last event."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None

    def to_usage(self) -> Usage:
        """The canonical usage, whose input includes what was read from a cache and written to one."""
        read, written = _count(self.cache_read_input_tokens), _count(self.cache_write_input_tokens)
        return Usage(
            input_tokens=_count(_count(self.input_tokens) + read + written),
            output_tokens=_count(self.output_tokens),
            cached_input_tokens=read,
            cache_creation_tokens=written,
        )


def _count(tokens: int | None) -> int:
    """A number of tokens, whatever a backend claims: never negative, never more than a counter can hold."""
    return min(max(tokens or 0, 0), _MAX_TOKENS)


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Canonical to JSON."""
    return {
        "inputTokens": max(0, usage.input_tokens - usage.cached_input_tokens - usage.cache_creation_tokens),
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.input_tokens + usage.output_tokens,
        "cacheReadInputTokens": usage.cached_input_tokens,
        "cacheWriteInputTokens": usage.cache_creation_tokens,
    }
