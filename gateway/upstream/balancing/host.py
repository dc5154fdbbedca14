"""What balancers see of an endpoint."""

from typing import Protocol, TypeVar

from gateway.upstream.balancing.latency import PeakEwma


class Host(Protocol):
    """One that may be chosen. Compared and hashed by identity."""

    @property
    def address(self) -> str:
        """What consistent hashing knows it by: the same on every node."""

    @property
    def weight(self) -> float:
        """Its share relative to others, as of now: in slow start it grows between two picks."""

    @property
    def active_requests(self) -> int:
        """Requests in flight to it."""

    @property
    def latency(self) -> PeakEwma:
        """How long it takes."""


H = TypeVar("H", bound=Host)
