"""Prefix affinity: a prompt goes where its beginning is known, unless that host is much busier than the others."""

from collections import Counter
from random import Random

import pytest

from gateway.upstream.balancing.hashing import stable_hash
from gateway.upstream.balancing.prefix_affinity import PrefixAffinity
from tests.gateway.upstream.balancing.hosts import FakeHost, owners, pick, pool, turns
from tests.gateway.upstream.balancing.laws import chi_square_excess

KEYS = [stable_hash(f"prompt-{number}".encode()) for number in range(5_000)]
KEY = KEYS[0]


def prefix_affinity(hosts: list[FakeHost], *, seed: int = 1) -> PrefixAffinity[FakeHost]:
    balancer: PrefixAffinity[FakeHost] = PrefixAffinity(Random(seed))
    balancer.update(hosts)
    return balancer


def preferred(hosts: list[FakeHost]) -> FakeHost:
    """Where `KEY` goes while nobody is busy."""
    return pick(prefix_affinity(hosts), KEY)


def test_the_same_prefix_goes_to_the_same_host_on_every_node() -> None:
    hosts = pool(1, 2, 3)
    first = owners(prefix_affinity(hosts, seed=1), KEYS)
    assert owners(prefix_affinity(hosts[::-1], seed=2), KEYS) == first
    assert set(first) == {host.address for host in hosts}


def test_prefixes_are_spread_over_all_hosts() -> None:
    hosts = pool(*[1] * 10)
    found = Counter(owners(prefix_affinity(hosts), KEYS))
    assert all(0.6 < found[host.address] / (len(KEYS) / 10) < 1.5 for host in hosts)


def test_when_a_host_goes_only_its_prefixes_move() -> None:
    hosts = pool(*[1] * 10)
    balancer = prefix_affinity(hosts)
    before = owners(balancer, KEYS)
    balancer.update(hosts[1:])
    after = owners(balancer, KEYS)
    assert all(old in (new, hosts[0].address) for old, new in zip(before, after, strict=True))
    balancer.update(hosts)
    assert owners(balancer, KEYS) == before


@pytest.mark.parametrize(
    ("least_busy", "weight", "most"),
    [(0, 1, 4), (10, 1, 19), (100, 1, 154), (0, 4, 4), (10, 4, 64)],
)
def test_a_host_keeps_its_prefixes_while_its_load_is_within_the_bound(least_busy: int, weight: int, most: int) -> None:
    """It may have half as many again as the least busy host for its weight, and four."""
    hosts = pool(weight, 1, 1)
    key = next(key for key in KEYS if pick(prefix_affinity(hosts), key) is hosts[0])
    for host in hosts[1:]:
        host.active_requests = least_busy
    balancer = prefix_affinity(hosts)
    hosts[0].active_requests = most
    assert pick(balancer, key) is hosts[0]
    hosts[0].active_requests = most + 1
    assert pick(balancer, key) is not hosts[0]


def test_what_overflows_goes_to_one_host_and_comes_back_once_the_load_has_fallen() -> None:
    hosts = pool(*[1] * 5)
    balancer = prefix_affinity(hosts)
    first = pick(balancer, KEY)
    first.active_requests = 5
    seconds = {pick(balancer, KEY) for _ in range(20)}
    assert len(seconds) == 1
    second = seconds.pop()
    assert second is not first
    # It is where the prefix would go if its host was away.
    assert second is pick(balancer, KEY, exclude=[first])
    second.active_requests = 5
    assert pick(balancer, KEY) not in (first, second)
    first.active_requests = 4
    assert pick(balancer, KEY) is first


def test_a_prefix_that_everybody_asks_for_is_spread_evenly_enough() -> None:
    hosts = pool(*[1] * 4)
    balancer = prefix_affinity(hosts)
    for _ in range(400):
        pick(balancer, KEY).active_requests += 1
    loads = sorted(host.active_requests for host in hosts)
    assert loads[-1] <= loads[0] * 1.5 + 5


def test_where_all_on_the_way_are_too_busy_the_least_busy_is_picked() -> None:
    """The idle one is so light that the walk along the ring does not come by it."""
    hosts = pool(*[120] * 4, 1)
    for host in hosts[:4]:
        host.active_requests = 100_000
    balancer = prefix_affinity(hosts)
    assert {pick(balancer, key) for key in KEYS[:50]} == {hosts[4]}


def test_in_a_large_pool_a_sample_stands_for_all() -> None:
    hosts = pool(*[1] * 200)
    for host in hosts:
        host.active_requests = 20
    balancer = prefix_affinity(hosts)
    first = preferred(hosts)
    first.active_requests = 34
    assert {pick(balancer, KEY) for _ in range(50)} == {first}
    first.active_requests = 35
    assert first not in {pick(balancer, KEY) for _ in range(50)}


# Without a key, and exclusion.


def test_without_a_prefix_the_less_busy_of_two_is_picked() -> None:
    hosts = pool(1, 1, 1)
    for active, host in enumerate(hosts):
        host.active_requests = active
    found = turns(prefix_affinity(hosts), 10_000)
    assert chi_square_excess(found, {hosts[0]: 2, hosts[1]: 1}) < 1


def test_without_a_prefix_shares_follow_the_weights() -> None:
    hosts = pool(5, 3, 2)
    found = turns(prefix_affinity(hosts), 1000)
    assert [found[host] for host in hosts] == [500, 300, 200]


def test_an_excluded_host_does_not_count_as_the_least_busy() -> None:
    hosts = pool(1, 1, 1)
    first = preferred(hosts)
    others = [host for host in hosts if host is not first]
    idle, busy = others
    first.active_requests = 12
    busy.active_requests = 10
    balancer = prefix_affinity(hosts)
    assert pick(balancer, KEY) is idle
    assert pick(balancer, KEY, exclude=[idle]) is first
