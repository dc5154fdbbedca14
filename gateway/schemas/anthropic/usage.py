"""Usage as Anthropic writes it, where cached tokens stand beside the input: to canonical and back."""

from typing import Any

import msgspec

from gateway.types import Usage

_MAX_TOKENS = 2**63 - 1


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class UsageFields(msgspec.Struct):
    """The tokens of an answer. A stream tells them twice: at its start, and at its end all or the output alone."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None

    def after(self, before: "UsageFields | None") -> "UsageFields":
        """These, and what only those told `before` have."""
        if before is None:
            return self
        return UsageFields(
            input_tokens=self.input_tokens or before.input_tokens,
            output_tokens=self.output_tokens or before.output_tokens,
            cache_creation_input_tokens=self.cache_creation_input_tokens or before.cache_creation_input_tokens,
            cache_read_input_tokens=self.cache_read_input_tokens or before.cache_read_input_tokens,
            output_tokens_details=self.output_tokens_details or before.output_tokens_details,
        )

    def to_usage(self) -> Usage:
        """The canonical usage, whose input includes what was read from a cache and written to one."""
        cached, written = _count(self.cache_read_input_tokens), _count(self.cache_creation_input_tokens)
        details = self.output_tokens_details
        return Usage(
            input_tokens=_count(_count(self.input_tokens) + cached + written),
            output_tokens=_count(self.output_tokens),
            cached_input_tokens=cached,
            cache_creation_tokens=written,
            reasoning_tokens=_count(details.thinking_tokens if details else None),
        )


def _count(tokens: int | None) -> int:
    """A number of tokens, whatever a backend claims: never negative, never more than a counter can hold."""
    return min(max(tokens or 0, 0), _MAX_TOKENS)


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Canonical to JSON."""
    fields: dict[str, Any] = {
        "input_tokens": max(0, usage.input_tokens - usage.cached_input_tokens - usage.cache_creation_tokens),
        "cache_creation_input_tokens": usage.cache_creation_tokens,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return fields
