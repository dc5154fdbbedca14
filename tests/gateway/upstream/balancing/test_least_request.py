"""Least request: the power of choices among equals, and Envoy's law among unequals."""

from math import comb
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.balancing.least_request import LeastRequest
from tests.gateway.upstream.balancing.hosts import FakeHost, pick, pool, turns
from tests.gateway.upstream.balancing.laws import chi_square_excess

PICKS = 100_000


def least_request(
    hosts: list[FakeHost], *, choice_count: int = 2, bias: float = 1.0, seed: int = 3
) -> LeastRequest[FakeHost]:
    balancer: LeastRequest[FakeHost] = LeastRequest(Random(seed), choice_count=choice_count, active_request_bias=bias)
    balancer.update(hosts)
    return balancer


def ranked(count: int) -> list[FakeHost]:
    """Equal hosts, each with one request more than the one before."""
    hosts = pool(*[1] * count)
    for number, host in enumerate(hosts):
        host.active_requests = number
    return hosts


# Equal weights.


@pytest.mark.parametrize("choice_count", [2, 3, 5])
def test_the_least_busy_of_those_drawn_is_picked(choice_count: int) -> None:
    """The host of rank r is picked if it is drawn and all others drawn are of higher ranks."""
    hosts = ranked(8)
    found = turns(least_request(hosts, choice_count=choice_count), PICKS)
    law = {host: comb(7 - rank, choice_count - 1) for rank, host in enumerate(hosts)}
    assert chi_square_excess(found, {host: share for host, share in law.items() if share}) < 1


def test_draws_are_of_different_hosts() -> None:
    idle, busy = ranked(2)
    assert turns(least_request([busy, idle]), 1000) == {idle: 1000}


@pytest.mark.parametrize("choice_count", [8, 100])
def test_with_as_many_choices_as_hosts_the_least_busy_of_all_is_picked(choice_count: int) -> None:
    hosts = ranked(8)
    assert turns(least_request(hosts, choice_count=choice_count), 100) == {hosts[0]: 100}


@pytest.mark.parametrize("choice_count", [2, 3, 100])
@pytest.mark.parametrize("active", [0, 7])
def test_equals_are_picked_alike(choice_count: int, active: int) -> None:
    hosts = pool(*[1] * 5)
    for host in hosts:
        host.active_requests = active
    found = turns(least_request(hosts, choice_count=choice_count), PICKS // 10)
    assert chi_square_excess(found, dict.fromkeys(hosts, 1)) < 1


def test_a_weight_that_all_have_does_not_matter() -> None:
    hosts = ranked(3)
    for host in hosts:
        host.weight = 50
    law = {hosts[0]: 2, hosts[1]: 1}
    assert chi_square_excess(turns(least_request(hosts), PICKS), law) < 1


def test_those_excluded_are_not_drawn() -> None:
    hosts = ranked(4)
    found = turns(least_request(hosts), PICKS, exclude=hosts[:1])
    assert chi_square_excess(found, {hosts[1]: 2, hosts[2]: 1}) < 1


def test_loads_stay_level() -> None:
    """Of a thousand requests in flight on ten hosts none has many more than a hundred."""
    random = Random(5)
    hosts = pool(*[1] * 10)
    balancer = least_request(hosts)
    running: list[FakeHost] = []
    for _ in range(20_000):
        if len(running) == 1000:
            running.pop(random.randrange(1000)).active_requests -= 1
        running.append(host := pick(balancer))
        host.active_requests += 1
    assert all(94 <= host.active_requests <= 106 for host in hosts)


# Unequal weights.


@pytest.mark.parametrize("bias", [0.0, 0.5, 1.0, 2.0])
def test_shares_are_the_weight_by_a_power_of_the_load(bias: float) -> None:
    hosts = pool(1, 2, 4, 8)
    for host, active in zip(hosts, [0, 1, 3, 9], strict=True):
        host.active_requests = active
    found = turns(least_request(hosts, bias=bias), PICKS)
    shares = [host.weight / (host.active_requests + 1) ** bias for host in hosts]
    assert [found[host] for host in hosts] == pytest.approx([PICKS * each / sum(shares) for each in shares], abs=4)


def test_without_bias_the_load_does_not_matter() -> None:
    heavy, light = pool(3, 1)
    heavy.active_requests = 1000
    assert turns(least_request([heavy, light], bias=0), 4000) == {heavy: 3000, light: 1000}


def test_a_host_that_becomes_busy_has_fewer_turns_from_then_on() -> None:
    changing, other = pool(2, 1)
    balancer = least_request([changing, other])
    turns(balancer, 100)
    changing.active_requests = 3
    assert turns(balancer, 3000)[changing] == pytest.approx(1000, abs=2)


def test_while_an_endpoint_is_away_the_others_have_its_share() -> None:
    hosts = pool(5, 3, 2)
    balancer = least_request(hosts)
    balancer.update(hosts[1:])
    assert turns(balancer, 5000) == pytest.approx({hosts[1]: 3000, hosts[2]: 2000}, abs=2)


def test_of_those_not_excluded_each_has_its_share() -> None:
    hosts = pool(5, 3, 2)
    assert turns(least_request(hosts), 5000, exclude=hosts[:1]) == {hosts[1]: 3000, hosts[2]: 2000}


def test_the_law_changes_with_the_weights() -> None:
    hosts = ranked(2)
    balancer = least_request(hosts)
    assert turns(balancer, 100) == {hosts[0]: 100}
    hosts[1].weight = 4
    balancer.update(hosts)
    assert turns(balancer, 300)[hosts[1]] == pytest.approx(200, abs=2)
    hosts[1].weight = 1
    balancer.update(hosts)
    assert turns(balancer, 100) == {hosts[0]: 100}


@given(
    st.lists(st.tuples(st.integers(1, 128), st.integers(0, 50)), min_size=1, max_size=6),
    st.floats(0, 3),
    st.integers(2, 5),
)
@settings(max_examples=50, deadline=None)
def test_every_host_has_turns_whatever_the_others_have(
    states: list[tuple[int, int]], bias: float, choice_count: int
) -> None:
    """Weighted, nobody starves: the busiest too has its turns in proportion."""
    hosts = pool(*(weight for weight, _ in states))
    for host, (_, active) in zip(hosts, states, strict=True):
        host.active_requests = active
    balancer = least_request(hosts, bias=bias, choice_count=choice_count)
    if len({host.weight for host in hosts}) > 1:
        shares = [host.weight / (host.active_requests + 1) ** bias for host in hosts]
        times = 500
        found = turns(balancer, times)
        for host, share in zip(hosts, shares, strict=True):
            assert abs(found[host] - times * share / sum(shares)) <= len(hosts)
    else:
        assert turns(balancer, 100).keys() <= set(hosts)
