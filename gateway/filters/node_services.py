"""What filters need of their node, and what they count and keep from one configuration to the next."""

from dataclasses import dataclass, field

from gateway.filters.api_keys import KeyIndex
from gateway.filters.limits.state import LimitState
from gateway.response_cache.response_cache import ResponseCache


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeServices:
    """Made once per configuration; all but the keys is the same object each time."""

    keys: KeyIndex
    limits: LimitState
    answers: ResponseCache = field(default_factory=ResponseCache)
