"""What filters need of their node, and what they count and keep from one configuration to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.config.snapshot import ConsumerConfig
from gateway.filters.api_keys import KeyIndex
from gateway.filters.limits.state import LimitState
from gateway.filters.published_keys import KeyDirectory
from gateway.response_cache.response_cache import ResponseCache
from gateway.telemetry.metrics import Metrics
from gateway.transport.outgoing import Outgoing


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeServices:
    """Made anew when policies or consumers change; all but the consumers, by their keys, their subjects and the names
    in their certificates, is the same object each time."""

    keys: KeyIndex
    limits: LimitState
    subjects: Mapping[str, ConsumerConfig]
    published_keys: KeyDirectory
    metrics: Metrics
    certificate_names: Mapping[str, ConsumerConfig] = field(default_factory=dict)
    answers: ResponseCache = field(default_factory=ResponseCache)
    judges: Outgoing = field(default_factory=Outgoing)
