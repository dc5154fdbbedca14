"""Weighted round robin: turns that are exactly the weights."""

from random import Random

import pytest

from gateway.upstream.balancing.round_robin import RoundRobin
from tests.gateway.upstream.balancing.hosts import FakeHost, pool, turns

PICKS = 100_000


def round_robin(hosts: list[FakeHost]) -> RoundRobin[FakeHost]:
    balancer: RoundRobin[FakeHost] = RoundRobin(Random(1))
    balancer.update(hosts)
    return balancer


@pytest.mark.parametrize("weights", [[1, 1], [5, 3, 1, 1], [128, 64, 32, 16, 8, 1, 1], [1] * 10, [97, 2, 1]])
def test_shares_are_the_weights_exactly(weights: list[int]) -> None:
    hosts = pool(*weights)
    rounds = PICKS // sum(weights)
    found = turns(round_robin(hosts), rounds * sum(weights))
    assert [found[host] for host in hosts] == [rounds * weight for weight in weights]


def test_while_an_endpoint_is_away_the_others_have_its_share() -> None:
    hosts = pool(5, 3, 2)
    balancer = round_robin(hosts)
    turns(balancer, 1234)
    balancer.update(hosts[1:])
    found = turns(balancer, PICKS)
    assert [found[host] for host in hosts] == pytest.approx([0, PICKS * 3 / 5, PICKS * 2 / 5], abs=2)
    balancer.update(hosts)
    found = turns(balancer, PICKS)
    assert [found[host] for host in hosts] == pytest.approx([PICKS / 2, PICKS * 3 / 10, PICKS / 5], abs=3)


def test_keys_do_not_matter() -> None:
    hosts = pool(1, 1)
    balancer = round_robin(hosts)
    assert {balancer.pick(7, ()) for _ in range(2)} == set(hosts)
