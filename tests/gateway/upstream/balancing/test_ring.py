"""The hash ring: who owns which keys, and whose keys move when a host comes or goes."""

from collections import Counter
from random import Random
from statistics import pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.balancing.hashing import stable_hash
from gateway.upstream.balancing.ring import Ring
from tests.gateway.upstream.balancing.hosts import FakeHost, pool
from tests.gateway.upstream.balancing.work import calls

KEYS = [stable_hash(f"key-{number}".encode()) for number in range(20_000)]
WEIGHTS = st.lists(st.integers(1, 10), min_size=2, max_size=8)


def ring_of(hosts: list[FakeHost]) -> Ring[FakeHost]:
    ring: Ring[FakeHost] = Ring()
    ring.update(hosts)
    return ring


def owner(ring: Ring[FakeHost], key: int) -> FakeHost:
    host = ring.find(key, ())
    assert host is not None
    return host


def owned(ring: Ring[FakeHost], keys: list[int] = KEYS) -> list[FakeHost]:
    return [owner(ring, key) for key in keys]


def moved_of_others(before: list[FakeHost], after: list[FakeHost], changed: FakeHost) -> int:
    return sum(one is not other and changed not in (one, other) for one, other in zip(before, after, strict=True))


# Shares.


def test_shares_of_equals_are_about_equal() -> None:
    hosts = pool(*[1] * 100)
    random = Random(1)
    found = Counter(owned(ring_of(hosts), [random.getrandbits(64) for _ in range(100_000)]))
    relative = [found[host] / 1000 for host in hosts]
    # 128 points a host make a deviation of 1 / sqrt(128), which is 9 %.
    assert pstdev(relative) < 0.13
    assert all(0.6 < each < 1.5 for each in relative)


@pytest.mark.parametrize("unit", [1, 16, 40])
def test_shares_follow_the_weights(unit: int) -> None:
    hosts = pool(unit, 2 * unit, 4 * unit, 8 * unit)
    found = Counter(owned(ring_of(hosts)))
    for host in hosts:
        assert found[host] == pytest.approx(len(KEYS) * host.weight / (15 * unit), rel=0.3)


def test_a_key_belongs_to_the_next_point() -> None:
    """Between two keys of one host that are neighbours there is no key of another; the circle closes at its end."""
    ring = ring_of(pool(1, 1))
    assert owner(ring, 0) is owner(ring, (1 << 64) - 1)


# Comings and goings.


@given(WEIGHTS, st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_order_of_hosts_does_not_matter(weights: list[int], random: Random) -> None:
    hosts = pool(*weights)
    shuffled = random.sample(hosts, len(hosts))
    assert owned(ring_of(hosts), KEYS[:300]) == owned(ring_of(shuffled), KEYS[:300])


@given(WEIGHTS, st.integers(0, 7))
@settings(max_examples=15, deadline=None)
def test_when_a_host_goes_only_its_keys_move_and_they_come_back_with_it(weights: list[int], place: int) -> None:
    hosts = pool(*weights)
    gone = hosts[place % len(hosts)]
    ring = ring_of(hosts)
    before = owned(ring, KEYS[:1000])
    ring.update([host for host in hosts if host is not gone])
    after = owned(ring, KEYS[:1000])
    assert moved_of_others(before, after, gone) == 0
    assert gone not in after
    ring.update(hosts)
    assert owned(ring, KEYS[:1000]) == before


def test_the_keys_of_one_that_goes_are_shared_by_many() -> None:
    hosts = pool(*[1] * 10)
    ring = ring_of(hosts)
    before = owned(ring)
    ring.update(hosts[1:])
    heirs = Counter(new for old, new in zip(before, owned(ring), strict=True) if old is hosts[0])
    assert len(heirs) == 9
    assert max(heirs.values()) < 0.3 * heirs.total()


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 100])
def test_a_pool_of_any_size_loses_only_the_keys_of_the_one_that_goes(count: int) -> None:
    hosts = pool(*[1] * count)
    ring = ring_of(hosts)
    before = owned(ring)
    ring.update(hosts[1:])
    assert moved_of_others(before, owned(ring), hosts[0]) == 0


@pytest.mark.parametrize(("weights", "place"), [([100, 100, 50], 2), ([10, 10, 10, 1], 3), ([2, 2, 2, 3], 3)])
def test_a_weight_that_does_not_divide_the_others_moves_no_more(weights: list[int], place: int) -> None:
    hosts = pool(*weights)
    ring = ring_of(hosts)
    before = owned(ring)
    ring.update([host for host in hosts if host is not hosts[place]])
    assert moved_of_others(before, owned(ring), hosts[place]) == 0


@pytest.mark.parametrize("weights", [[10] * 100, [100] * 10 + [1], [128, 128, 128, 128, 64]])
def test_with_great_weights_as_many_others_move_at_most(weights: list[int]) -> None:
    hosts = pool(*weights)
    ring = ring_of(hosts)
    before = owned(ring)
    ring.update(hosts[:-1])
    share = weights[-1] / sum(weights)
    assert moved_of_others(before, owned(ring), hosts[-1]) <= len(KEYS) * share * 1.5


@given(st.lists(st.dictionaries(st.integers(0, 4), st.integers(1, 200), min_size=1), min_size=1, max_size=3))
@settings(max_examples=5, deadline=None)
def test_the_ring_depends_on_its_hosts_and_not_on_what_came_before(states: list[dict[int, int]]) -> None:
    hosts = pool(*[1] * 6)
    ring = ring_of([])
    for state in states:
        for place, weight in state.items():
            hosts[place].weight = weight
        members = [hosts[place] for place in state]
        ring.update(members)
    assert owned(ring, KEYS[:300]) == owned(ring_of(members), KEYS[:300])


def test_a_host_that_was_made_anew_takes_the_place_of_its_former_self() -> None:
    ring = ring_of(pool(1, 1, 1))
    before = owned(ring, KEYS[:500])
    renewed = pool(1, 1, 1)
    ring.update(renewed)
    after = owned(ring, KEYS[:500])
    assert set(after) == set(renewed)
    assert [host.address for host in after] == [host.address for host in before]


def test_a_weight_that_changes_moves_the_difference() -> None:
    hosts = pool(4, 4, 4)
    ring = ring_of(hosts)
    before = owned(ring)
    hosts[0].weight = 5
    ring.update(hosts)
    after = owned(ring)
    moved = [new for old, new in zip(before, after, strict=True) if old is not new]
    assert set(moved) == {hosts[0]}
    # From 4 of 12 to 5 of 13.
    assert len(moved) == pytest.approx(len(KEYS) * (5 / 13 - 4 / 12), rel=0.4)


# Exclusion.


def test_the_key_of_an_excluded_host_goes_where_it_would_without_that_host() -> None:
    hosts = pool(1, 2, 1, 3)
    ring, without = ring_of(hosts), ring_of(hosts[1:])
    for key in KEYS[:2000]:
        assert ring.find(key, hosts[:1]) is owner(without, key)


def test_nobody_to_find() -> None:
    hosts = pool(1, 1)
    assert ring_of([]).find(7, ()) is None
    assert ring_of(hosts).find(7, hosts) is None
    assert list(ring_of([]).hosts_from(7)) == []


@pytest.mark.parametrize("key", [0, 1, 1 << 63, (1 << 64) - 1, *KEYS[:20]])
def test_the_walk_begins_with_the_owner_and_comes_by_everybody(key: int) -> None:
    hosts = pool(1, 2, 3)
    ring = ring_of(hosts)
    walk = list(ring.hosts_from(key))
    assert walk[0] is owner(ring, key)
    assert {host: walk.count(host) / 128 for host in hosts} == {hosts[0]: 1, hosts[1]: 2, hosts[2]: 3}


# Work.


def test_a_change_of_one_host_is_the_work_of_one_host() -> None:
    hosts = pool(*[1] * 400)
    ring = ring_of(hosts)
    # 128 points, eight by each hash.
    assert calls(lambda: ring.update(hosts[1:]))["stable_hashes"] == 16
    assert calls(lambda: ring.update(hosts))["stable_hashes"] == 16
    assert calls(lambda: ring.update(hosts))["stable_hashes"] == 0


def test_work_does_not_grow_with_the_square_of_the_hosts() -> None:
    def work(count: int) -> int:
        hosts = pool(*[1] * count)
        ring = ring_of(hosts)
        return calls(lambda: ring.update(hosts[1:])).total()

    assert work(1000) < 15 * work(100)
