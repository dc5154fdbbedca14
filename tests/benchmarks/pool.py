"""A pool of endpoints as both Janua and Envoy are told of it. All that bears on failover is written here and left to
neither's defaults. Times in seconds."""

from dataclasses import dataclass

KEY_HEADER = "x-session-id"
"""Requests with the same value of it belong together, where the policy cares."""

RING_POINTS = 128
"""Points of a hash ring per unit of weight: Janua's number, to which Envoy's ring is made to come up."""

REQUEST_S = 5.0
CONNECT_S = 1.0
RETRIES = 2
RETRY_BUDGET_PERCENT = 100
LEAST_RETRIES = 10
"""In flight at a time, whatever the budget says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Active health checks of `/health`, without jitter."""

    interval_s: float = 0.5
    timeout_s: float = 0.25
    unhealthy_threshold: int = 2
    healthy_threshold: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outliers:
    """Ejection after failures in a row, whatever their kind."""

    consecutive: int = 5
    interval_s: float = 0.5
    base_ejection_s: float = 2.0
    max_ejection_percent: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Endpoints as `host:port`, their weights, a policy that has the same name in both systems, what notices faults,
    and how long one try of a request may take."""

    addresses: tuple[str, ...]
    weights: tuple[int, ...] = ()
    policy: str = "ROUND_ROBIN"
    checks: Checks | None = None
    outliers: Outliers | None = None
    per_try_s: float | None = 0.25

    @property
    def members(self) -> tuple[tuple[str, int], ...]:
        """Each address with its weight, 1 where none is given."""
        return tuple(zip(self.addresses, self.weights or (1,) * len(self.addresses), strict=True))

    @property
    def wants_key(self) -> bool:
        """Whether requests are told apart by their key."""
        return self.policy in {"RING_HASH", "MAGLEV"}
