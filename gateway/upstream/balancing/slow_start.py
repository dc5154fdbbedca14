"""The share of an endpoint that has just begun to take requests."""

import math

from gateway.config.upstream import SlowStartConfig

# The share is never nothing at all.
_LEAST = 1e-6


def slow_start_factor(config: SlowStartConfig, elapsed_s: float) -> float:
    """The part of its weight that an endpoint has after so many seconds, above 0 to 1. The formula is Envoy's, but the
    first moment counts as a whole millisecond and not as a whole second."""
    if elapsed_s >= config.window_s:
        return 1.0
    progress = min(1.0, max(elapsed_s, 0.001) / config.window_s)
    return max(config.min_weight_percent / 100, math.pow(progress, 1 / config.aggression), _LEAST)
