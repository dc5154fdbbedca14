"""The interface of all policies, and the table of them. A new one is one file and one line here."""

from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random
from typing import Any, Protocol

from gateway.config.upstream import BalancingConfig, BalancingPolicy
from gateway.upstream.balancing.growing_weights import GrowingWeights
from gateway.upstream.balancing.host import H
from gateway.upstream.balancing.least_request import LeastRequest
from gateway.upstream.balancing.maglev import Maglev
from gateway.upstream.balancing.peak_ewma import LowestLatency
from gateway.upstream.balancing.prefix_affinity import PrefixAffinity
from gateway.upstream.balancing.random_choice import RandomChoice
from gateway.upstream.balancing.ring_hash import RingHash
from gateway.upstream.balancing.round_robin import RoundRobin


class LoadBalancer(Protocol[H]):
    """Chooses among hosts that may all be used."""

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts to choose among from now on. Called when one comes, goes, or gets another weight. What a policy
        knows of hosts that stay is kept."""

    def pick(self, key: int | None, exclude: Collection[H]) -> H | None:
        """A host that is not excluded, or None if there is none. `key` is the hash of what belongs together, if
        anything does; it matters to the policies that hash."""


def _with_slow_start(config: BalancingConfig, balancer: LoadBalancer[Any]) -> LoadBalancer[Any]:
    return balancer if config.slow_start is None else GrowingWeights(balancer)


BALANCERS: Mapping[BalancingPolicy, Callable[[BalancingConfig, Random], LoadBalancer[Any]]] = {
    BalancingPolicy.ROUND_ROBIN: lambda config, random: _with_slow_start(config, RoundRobin(random)),
    BalancingPolicy.LEAST_REQUEST: lambda config, random: _with_slow_start(
        config,
        LeastRequest(random, choice_count=config.choice_count, active_request_bias=config.active_request_bias),
    ),
    BalancingPolicy.RANDOM: lambda config, random: _with_slow_start(config, RandomChoice(random)),
    BalancingPolicy.RING_HASH: lambda config, random: RingHash(random),
    BalancingPolicy.MAGLEV: lambda config, random: Maglev(random),
    BalancingPolicy.PEAK_EWMA: lambda config, random: LowestLatency(random),
    BalancingPolicy.PREFIX_AFFINITY: lambda config, random: PrefixAffinity(random),
}
