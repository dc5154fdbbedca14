"""Usage as Cohere writes it: what the model read and wrote, and what of it is billed."""

from typing import Any

import msgspec

from gateway.types import Usage

_MAX_TOKENS = 2**63 - 1


class _Counts(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None
    search_units: float | None = None


class UsageFields(msgspec.Struct):
    """`tokens` includes what Cohere puts around a prompt; some answers tell `billed_units` alone."""

    tokens: _Counts | None = None
    billed_units: _Counts | None = None
    cached_tokens: float | None = None

    def to_usage(self) -> Usage:
        """The canonical usage."""
        tokens, billed = self.tokens or _Counts(), self.billed_units or _Counts()
        return Usage(
            input_tokens=_count(billed.input_tokens if tokens.input_tokens is None else tokens.input_tokens),
            output_tokens=_count(billed.output_tokens if tokens.output_tokens is None else tokens.output_tokens),
            cached_input_tokens=_count(self.cached_tokens),
            search_units=_count(billed.search_units),
        )


def _count(tokens: float | None) -> int:
    """A number of tokens, whatever a backend claims: never negative, never more than a counter can hold."""
    return int(min(max(tokens or 0, 0), _MAX_TOKENS))


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Canonical to JSON."""
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    billed = {**counts, "search_units": usage.search_units} if usage.search_units else counts
    fields: dict[str, Any] = {"billed_units": billed, "tokens": counts}
    return {**fields, "cached_tokens": usage.cached_input_tokens} if usage.cached_input_tokens else fields
