"""Consistent hashing on a ring, as a policy."""

from random import Random

from gateway.upstream.balancing.hashing import stable_hash
from gateway.upstream.balancing.ring_hash import RingHash
from tests.gateway.upstream.balancing.hosts import FakeHost, owners, pool, turns

KEYS = [stable_hash(f"key-{number}".encode()) for number in range(20_000)]


def ring_hash(hosts: list[FakeHost], *, seed: int = 1) -> RingHash[FakeHost]:
    balancer: RingHash[FakeHost] = RingHash(Random(seed))
    balancer.update(hosts)
    return balancer


def test_the_same_key_goes_to_the_same_host_on_every_node() -> None:
    hosts = pool(1, 2, 3)
    assert owners(ring_hash(hosts, seed=1), KEYS) == owners(ring_hash(hosts[::-1], seed=2), KEYS)


def test_of_a_hundred_hosts_one_goes_and_only_its_keys_move() -> None:
    hosts = pool(*[1] * 100)
    balancer = ring_hash(hosts)
    before = owners(balancer, KEYS)
    balancer.update(hosts[:40] + hosts[41:])
    after = owners(balancer, KEYS)
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {hosts[40].address}
    assert len(moved) == before.count(hosts[40].address) < 0.02 * len(KEYS)
    balancer.update(hosts)
    assert owners(balancer, KEYS) == before


def test_requests_without_a_key_go_anywhere_by_weight() -> None:
    hosts = pool(1, 1, 2)
    found = turns(ring_hash(hosts), 20_000)
    assert all(0.7 < found[host] / (5000 * host.weight) < 1.3 for host in hosts)


def test_only_the_keys_of_an_excluded_host_go_elsewhere() -> None:
    hosts = pool(1, 1, 1)
    balancer = ring_hash(hosts)
    before, after = owners(balancer, KEYS), owners(balancer, KEYS, exclude=hosts[:1])
    assert all(old == new or old == hosts[0].address for old, new in zip(before, after, strict=True))
    assert hosts[0].address not in after
