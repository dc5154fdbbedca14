"""Endpoints in slow start: their share follows Envoy's formula, whatever the policy."""

from collections.abc import Callable
from random import Random
from typing import TypeAlias

import pytest

from gateway.config.upstream import SlowStartConfig
from gateway.upstream.balancing.growing_weights import GrowingWeights
from gateway.upstream.balancing.least_request import LeastRequest
from gateway.upstream.balancing.random_choice import RandomChoice
from gateway.upstream.balancing.round_robin import RoundRobin
from gateway.upstream.balancing.slow_start import slow_start_factor
from tests.gateway.upstream.balancing.hosts import FakeHost, pick, pool, turns

Policy: TypeAlias = RoundRobin[FakeHost] | LeastRequest[FakeHost] | RandomChoice[FakeHost]
Make: TypeAlias = Callable[[Random], Policy]

MAKERS: dict[str, Make] = {
    "round robin": RoundRobin,
    "least request": LeastRequest,
    "random": RandomChoice,
}
WINDOW_S = 60.0


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Make:
    return MAKERS[request.param]


def growing(make: Make, hosts: list[FakeHost]) -> GrowingWeights[FakeHost]:
    balancer: GrowingWeights[FakeHost] = GrowingWeights(make(Random(11)))
    balancer.update(hosts)
    return balancer


@pytest.mark.parametrize(
    "config",
    [
        SlowStartConfig(window_s=WINDOW_S),
        SlowStartConfig(window_s=WINDOW_S, aggression=0.5),
        SlowStartConfig(window_s=WINDOW_S, aggression=4.0, min_weight_percent=50.0),
        SlowStartConfig(window_s=WINDOW_S, min_weight_percent=0.0),
    ],
    ids=["linear", "late", "early", "from nothing"],
)
def test_a_starting_endpoint_has_the_share_of_the_formula_in_each_part_of_its_window(
    make: Make, config: SlowStartConfig
) -> None:
    *_, newcomer = hosts = pool(4, 2, 2)
    picks, parts = 30_000, 10
    newcomer.weight = 2 * slow_start_factor(config, 0)
    balancer = growing(make, hosts)
    for part in range(parts):
        found = expected = 0.0
        for number in range(picks // parts):
            newcomer.weight = 2 * slow_start_factor(config, WINDOW_S * (part + number * parts / picks) / parts)
            found += pick(balancer) is newcomer
            expected += newcomer.weight / sum(host.weight for host in hosts)
        assert found == pytest.approx(expected, abs=5 * expected**0.5 + 10)


def test_a_share_that_was_next_to_nothing_is_not_waited_for_long(make: Make) -> None:
    """With few requests most of the window passes between two of them."""
    *_, newcomer = hosts = pool(2, 2, 1e-6)
    balancer = growing(make, hosts)
    assert newcomer not in turns(balancer, 50)
    newcomer.weight = 2
    assert turns(balancer, 60)[newcomer] >= 10


def test_weights_that_are_alike_only_for_a_moment_are_not_taken_for_equal() -> None:
    """A heavy endpoint in slow start may begin with just the weight that the others have."""
    heavy, *others = pool(1, 1, 1)
    balancer = growing(LeastRequest, [heavy, *others])
    turns(balancer, 5)
    heavy.weight = 10
    assert turns(balancer, 1200)[heavy] == pytest.approx(1000, abs=10)


def test_an_update_is_handed_on(make: Make) -> None:
    hosts = pool(1, 1)
    balancer = growing(make, hosts)
    turns(balancer, 3)
    balancer.update(hosts[1:])
    assert turns(balancer, 10) == {hosts[1]: 10}


class CountingBalancer:
    """Picks the first, and counts what it is told."""

    def __init__(self) -> None:
        self.updates = 0
        self.hosts: list[FakeHost] = []

    def update(self, hosts: object) -> None:
        assert isinstance(hosts, list)
        self.updates += 1
        self.hosts = hosts

    def pick(self, key: int | None, exclude: object) -> FakeHost | None:
        return self.hosts[0] if self.hosts else None


def test_looking_at_the_weights_again_costs_each_pick_the_same_however_many_hosts_there_are() -> None:
    inner = CountingBalancer()
    balancer: GrowingWeights[FakeHost] = GrowingWeights(inner)
    balancer.update(pool(*[1] * 1000))
    turns(balancer, 10_000)
    assert 1 < inner.updates <= 11
