"""What all policies have in common, and the table of them."""

from collections.abc import Callable, Collection
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.upstream import BalancingConfig, BalancingPolicy, SlowStartConfig
from gateway.upstream.balancing.load_balancer import BALANCERS, LoadBalancer
from tests.gateway.upstream.balancing.hosts import FakeHost, pick, pool, turns
from tests.gateway.upstream.balancing.work import calls

ALL = list(BalancingPolicy)
STARTING = [
    BalancingPolicy.ROUND_ROBIN,
    BalancingPolicy.LEAST_REQUEST,
    BalancingPolicy.RANDOM,
    BalancingPolicy.PEAK_EWMA,
]
KEYS = st.none() | st.integers(0, (1 << 64) - 1)


def balancer_of(hosts: list[FakeHost], config: BalancingConfig) -> LoadBalancer[FakeHost]:
    balancer: LoadBalancer[FakeHost] = BALANCERS[config.policy](config, Random(19))
    balancer.update(hosts)
    return balancer


@pytest.mark.parametrize("policy", ALL)
@pytest.mark.parametrize("key", [None, 7])
def test_nobody_to_choose_from(policy: BalancingPolicy, key: int | None) -> None:
    config = BalancingConfig(policy=policy)
    unused: LoadBalancer[FakeHost] = BALANCERS[policy](config, Random(1))
    assert unused.pick(key, ()) is None
    hosts = pool(1, 2)
    balancer = balancer_of(hosts, config)
    balancer.update([])
    assert balancer.pick(key, ()) is None
    assert balancer.pick(key, hosts) is None


@pytest.mark.parametrize("policy", ALL)
@pytest.mark.parametrize("key", [None, 7])
def test_one_host_is_always_chosen_unless_it_is_excluded(policy: BalancingPolicy, key: int | None) -> None:
    only = pool(3)
    balancer = balancer_of(only, BalancingConfig(policy=policy))
    assert all(pick(balancer, key) is only[0] for _ in range(5))
    assert balancer.pick(key, only) is None


@pytest.mark.parametrize("policy", ALL)
@pytest.mark.parametrize("collect", [tuple, set])
@given(weights=st.lists(st.integers(1, 9), min_size=1, max_size=5), data=st.data())
@settings(max_examples=8, deadline=None)
def test_excluded_hosts_are_never_chosen(
    policy: BalancingPolicy,
    collect: Callable[[list[FakeHost]], Collection[FakeHost]],
    weights: list[int],
    data: st.DataObject,
) -> None:
    hosts = pool(*weights)
    balancer = balancer_of(hosts, BalancingConfig(policy=policy))
    for _ in range(8):
        places = data.draw(st.sets(st.integers(0, len(hosts) - 1)))
        excluded = collect([hosts[place] for place in places])
        host = balancer.pick(data.draw(KEYS), excluded)
        assert host not in excluded
        assert (host is None) == (len(excluded) == len(hosts))
        if host is not None:
            host.active_requests += data.draw(st.integers(0, 9))


@pytest.mark.parametrize("policy", ALL)
@given(st.lists(st.sets(st.integers(0, 4)), min_size=1, max_size=4))
@settings(max_examples=8, deadline=None)
def test_only_present_hosts_are_chosen_and_each_at_some_time(
    policy: BalancingPolicy, memberships: list[set[int]]
) -> None:
    # Of two equally quick hosts the heavier is always the cheaper one.
    hosts = pool(*([1] * 5 if policy is BalancingPolicy.PEAK_EWMA else [1, 2, 1, 2, 3]))
    balancer = balancer_of(hosts, BalancingConfig(policy=policy))
    for places in memberships:
        members = [hosts[place] for place in sorted(places)]
        balancer.update(members)
        found = {balancer.pick(None, ()) for _ in range(100)}
        assert found == (set(members) if members else {None})


@pytest.mark.parametrize("policy", ALL)
def test_the_hosts_given_are_not_changed(policy: BalancingPolicy) -> None:
    hosts = pool(3, 1, 2)[::-1]
    given = list(hosts)
    balancer = balancer_of(given, BalancingConfig(policy=policy))
    for key in (None, 1, 2, 3):
        pick(balancer, key)
        pick(balancer, key, exclude=hosts[:1])
    assert given == hosts


def test_the_settings_of_least_request_are_used() -> None:
    hosts = pool(*[1] * 10)
    for host in hosts[1:]:
        host.active_requests = 1
    config = BalancingConfig(policy=BalancingPolicy.LEAST_REQUEST, choice_count=10, active_request_bias=0)
    assert turns(balancer_of(hosts, config), 50) == {hosts[0]: 50}
    hosts[1].weight = 11
    assert turns(balancer_of(hosts, config), 200)[hosts[1]] == 110


@pytest.mark.parametrize("policy", STARTING)
def test_a_starting_endpoint_gets_more_as_its_weight_grows(policy: BalancingPolicy) -> None:
    *others, newcomer = hosts = pool(1, 1, 0.001)
    for host in hosts:
        host.latency.observe(0.1)
    config = BalancingConfig(policy=policy, slow_start=SlowStartConfig(window_s=60))
    balancer = balancer_of(hosts, config)
    assert turns(balancer, 300)[newcomer] <= 5
    newcomer.weight = 1
    found = turns(balancer, 300)
    assert all(70 <= found[host] <= 130 for host in (*others, newcomer))


@pytest.mark.parametrize("policy", ALL)
def test_without_slow_start_nobody_looks_for_weights_that_grow(policy: BalancingPolicy) -> None:
    balancer = balancer_of(pool(*[1] * 10), BalancingConfig(policy=policy))
    assert calls(lambda: [pick(balancer) for _ in range(100)])["update"] == 0


@pytest.mark.parametrize("policy", ALL)
def test_a_pick_is_no_more_work_among_a_thousand_than_among_ten(policy: BalancingPolicy) -> None:
    def work(count: int) -> int:
        balancer = balancer_of(pool(*[1] * count), BalancingConfig(policy=policy))
        pick(balancer, 7)
        return calls(lambda: [pick(balancer, key) for key in (None, 1, 1 << 63)]).total()

    assert work(1000) <= 3 * work(10)
