"""The algorithms that choose an endpoint. Each is one class with one `pick`; none knows health or I/O."""

from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import Protocol

from gateway.config.snapshot import BalancingPolicy, UpstreamConfig
from gateway.upstream.endpoint import Endpoint


class LoadBalancer(Protocol):
    """Chooses among endpoints that may all be used."""

    def pick(self, endpoints: Sequence[Endpoint], exclude: Collection[Endpoint]) -> Endpoint | None:
        """An endpoint that is not excluded, or None if there is none."""


class RoundRobin:
    """Each endpoint in turn, in proportion to the weights.

    Smooth weighted round robin: every turn each endpoint gains its weight, and the richest pays the sum of all, so
    that the turns of a heavy endpoint are spread between those of the others.
    """

    def __init__(self) -> None:
        self._credit: dict[Endpoint, float] = {}

    def pick(self, endpoints: Sequence[Endpoint], exclude: Collection[Endpoint]) -> Endpoint | None:
        """The endpoint whose turn it is."""
        credit = self._credit
        best: Endpoint | None = None
        best_credit = 0.0
        total = 0
        for endpoint in endpoints:
            if endpoint in exclude:
                continue
            weight = endpoint.config.weight
            total += weight
            gained = credit.get(endpoint, 0.0) + weight
            credit[endpoint] = gained
            if best is None or gained > best_credit:
                best, best_credit = endpoint, gained
        if best is not None:
            credit[best] = best_credit - total
        if len(credit) > len(endpoints):
            self._credit = {endpoint: credit[endpoint] for endpoint in endpoints if endpoint in credit}
        return best


class LeastRequest:
    """Of `choice_count` endpoints drawn at random the one with the least requests in flight for its weight.

    Of equals the first drawn is taken, and a heavy endpoint is drawn first as often as its weight says: so idle
    endpoints share the requests by weight too.
    """

    def __init__(self, choice_count: int, random: Random) -> None:
        self._choice_count = choice_count
        self._random = random

    def pick(self, endpoints: Sequence[Endpoint], exclude: Collection[Endpoint]) -> Endpoint | None:
        """The least busy of those drawn."""
        allowed = [endpoint for endpoint in endpoints if endpoint not in exclude] if exclude else endpoints
        return min(self._draw(allowed), key=_load, default=None)

    def _draw(self, endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
        count = min(self._choice_count, len(endpoints))
        if len({endpoint.config.weight for endpoint in endpoints}) <= 1:
            return self._random.sample(endpoints, count)
        # The least of exponentially distributed times is each one's with a chance proportional to its rate.
        return sorted(endpoints, key=lambda endpoint: self._random.expovariate(endpoint.config.weight))[:count]


def _load(endpoint: Endpoint) -> float:
    return endpoint.active_requests / endpoint.config.weight


BALANCERS: Mapping[BalancingPolicy, Callable[[UpstreamConfig, Random], LoadBalancer]] = {
    BalancingPolicy.ROUND_ROBIN: lambda config, random: RoundRobin(),
    BalancingPolicy.LEAST_REQUEST: lambda config, random: LeastRequest(config.choice_count, random),
}
