"""Random choice by weight."""

from random import Random

import pytest

from gateway.upstream.balancing.random_choice import RandomChoice
from tests.gateway.upstream.balancing.hosts import FakeHost, pick, pool, turns
from tests.gateway.upstream.balancing.laws import chi_square_excess

PICKS = 100_000


def random_choice(hosts: list[FakeHost]) -> RandomChoice[FakeHost]:
    balancer: RandomChoice[FakeHost] = RandomChoice(Random(7))
    balancer.update(hosts)
    return balancer


@pytest.mark.parametrize("weights", [[1, 1], [5, 3, 1, 1], [128, 64, 32, 16, 8, 4], [1] * 10, [0.1, 1]])
def test_shares_follow_the_weights(weights: list[float]) -> None:
    hosts = pool(*weights)
    found = turns(random_choice(hosts), PICKS)
    assert chi_square_excess(found, {host: host.weight for host in hosts}) < 1


def test_another_law_is_told_from_this_one() -> None:
    """The bound of these tests is one that a share that is two per cent off does not keep."""
    hosts = pool(1, 1)
    found = turns(random_choice(hosts), PICKS)
    assert chi_square_excess(found, {hosts[0]: 51, hosts[1]: 49}) > 1
    assert chi_square_excess(found, {hosts[0]: 2, hosts[1]: 1}) > 100


def test_each_choice_is_independent_of_the_one_before() -> None:
    hosts = pool(3, 2, 1)
    balancer = random_choice(hosts)
    found = [pick(balancer) for _ in range(PICKS)]
    pairs = {(one, other): 0 for one in hosts for other in hosts}
    for one, other in zip(found[::2], found[1::2], strict=True):
        pairs[one, other] += 1
    assert chi_square_excess(pairs, {(one, other): one.weight * other.weight for one, other in pairs}) < 1


def test_while_an_endpoint_is_away_the_others_have_its_share() -> None:
    hosts = pool(5, 3, 2)
    balancer = random_choice(hosts)
    balancer.update(hosts[1:])
    assert chi_square_excess(turns(balancer, PICKS), {hosts[1]: 3, hosts[2]: 2}) < 1
    balancer.update(hosts)
    assert chi_square_excess(turns(balancer, PICKS), {host: host.weight for host in hosts}) < 1


@pytest.mark.parametrize("weights", [[1, 3, 2], [1000, 3, 2]])
def test_of_those_not_excluded_each_has_its_share(weights: list[int]) -> None:
    """Also when nearly every draw is of the excluded one."""
    excluded, *others = hosts = pool(*weights)
    found = turns(random_choice(hosts), 20_000, exclude=[excluded])
    assert chi_square_excess(found, {host: host.weight for host in others}) < 1


def test_a_changed_weight_counts_from_the_next_update_on() -> None:
    hosts = pool(1, 1)
    balancer = random_choice(hosts)
    hosts[0].weight = 4
    balancer.update(hosts)
    assert chi_square_excess(turns(balancer, PICKS), {hosts[0]: 4, hosts[1]: 1}) < 1


class Highest(Random):
    """Draws the highest number that can be drawn."""

    def random(self) -> float:
        return 1 - 2**-53


def test_the_highest_number_is_the_last_host() -> None:
    hosts = pool(0.1, 0.2, 0.3)
    balancer: RandomChoice[FakeHost] = RandomChoice(Highest())
    balancer.update(hosts)
    assert pick(balancer) is hosts[-1]
