"""Consistent hashing with Maglev's table."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.balancing.hashing import stable_hash
from gateway.upstream.balancing.maglev import Maglev, make_table
from tests.gateway.upstream.balancing.hosts import FakeHost, owners, pool, turns
from tests.gateway.upstream.balancing.laws import chi_square_excess
from tests.gateway.upstream.balancing.work import calls

KEYS = [stable_hash(f"key-{number}".encode()) for number in range(20_000)]


def maglev(hosts: list[FakeHost], *, seed: int = 1) -> Maglev[FakeHost]:
    balancer: Maglev[FakeHost] = Maglev(Random(seed))
    balancer.update(hosts)
    return balancer


def members(*weights: int) -> list[tuple[str, int]]:
    return [(f"10.0.0.{number}:80", weight) for number, weight in enumerate(weights)]


def table_of_the_paper(addresses: Sequence[str], size: int) -> list[int]:
    """The pseudocode of the paper, with each member's whole preference list, for equal weights."""
    preferences = [
        [
            (
                stable_hash(f"{address}/offset".encode())
                + number * (stable_hash(f"{address}/skip".encode()) % (size - 1) + 1)
            )
            % size
            for number in range(size)
        ]
        for address in addresses
    ]
    following = [0] * len(addresses)
    entry = [-1] * size
    filled = 0
    while True:
        for member, preference in enumerate(preferences):
            while entry[preference[following[member]]] >= 0:
                following[member] += 1
            entry[preference[following[member]]] = member
            filled += 1
            if filled == size:
                return entry


# The table.


def test_the_size_is_a_prime() -> None:
    """Otherwise the steps of some members would not come by every entry."""
    size = len(make_table(members(1)))
    assert size > 10_000
    assert all(size % divisor for divisor in range(2, int(size**0.5) + 1))


def test_the_table_is_that_of_the_paper() -> None:
    equals = members(1, 1, 1, 1, 1)
    table = list(make_table(equals))
    assert table == table_of_the_paper([address for address, _ in equals], len(table))


@pytest.mark.parametrize("count", [1, 2, 10, 100, 1000])
def test_equals_have_the_same_number_of_entries_but_for_one(count: int) -> None:
    entries = Counter(make_table([(f"host-{number}", 3) for number in range(count)]))
    assert len(entries) == count
    assert max(entries.values()) - min(entries.values()) <= 1


@given(st.lists(st.integers(1, 128), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_entries_follow_the_weights(weights: list[int]) -> None:
    """A member that takes part in every k-th round is at most two entries ahead of its share of the rounds, and the
    rounds of all make up the table."""
    table = make_table(members(*weights))
    entries = Counter(table)
    for number, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(entries[number] - len(table) * share) <= 2 * max(1 - share, share * (len(weights) - 1))


def test_even_the_lightest_of_many_has_an_entry() -> None:
    entries = Counter(make_table([(f"host-{number}", 1 if number == 500 else 128) for number in range(1000)]))
    assert len(entries) == 1000


# Keys.


def test_the_same_key_goes_to_the_same_host_on_every_node() -> None:
    hosts = pool(1, 2, 3)
    assert owners(maglev(hosts, seed=1), KEYS) == owners(maglev(hosts[::-1], seed=2), KEYS)


@pytest.mark.parametrize("weights", [[1, 1], [5, 3, 1, 1], [1] * 10, [128, 64, 1]])
def test_shares_of_keys_follow_the_weights(weights: list[int]) -> None:
    hosts = pool(*weights)
    found = Counter(owners(maglev(hosts), KEYS))
    assert chi_square_excess(found, {host.address: host.weight for host in hosts}) < 1


def test_requests_without_a_key_go_anywhere_by_weight() -> None:
    hosts = pool(5, 3, 1, 1)
    assert chi_square_excess(turns(maglev(hosts), 100_000), {host: host.weight for host in hosts}) < 1


@pytest.mark.parametrize("count", [2, 10, 11, 41, 100, 164])
def test_when_a_host_goes_few_keys_of_others_move(count: int) -> None:
    hosts = pool(*[1] * count)
    balancer = maglev(hosts)
    before = owners(balancer, KEYS)
    balancer.update(hosts[1:])
    after = owners(balancer, KEYS)
    gone = hosts[0].address
    assert gone not in after
    moved = sum(old not in (new, gone) for old, new in zip(before, after, strict=True))
    assert moved < 0.05 * len(KEYS)
    balancer.update(hosts)
    assert owners(balancer, KEYS) == before


def test_a_host_that_comes_and_goes_comes_back_to_a_table_that_is_there() -> None:
    hosts = pool(*[1] * 5)
    balancer = maglev(hosts)
    owners(balancer, KEYS[:1])
    balancer.update(hosts[1:])
    owners(balancer, KEYS[:1])
    balancer.update(hosts)
    assert calls(lambda: owners(balancer, KEYS[:10]))["make_table"] == 0


def test_a_host_that_was_made_anew_takes_the_place_of_its_former_self() -> None:
    balancer = maglev(pool(1, 1, 1))
    before = owners(balancer, KEYS[:500])
    renewed = pool(1, 1, 1)
    balancer.update(renewed)
    assert owners(balancer, KEYS[:500]) == before
    assert {balancer.pick(key, ()) for key in KEYS[:500]} == set(renewed)


def test_only_the_keys_of_an_excluded_host_go_elsewhere_and_to_all_the_others() -> None:
    hosts = pool(1, 1, 1, 1)
    balancer = maglev(hosts)
    before, after = owners(balancer, KEYS), owners(balancer, KEYS, exclude=hosts[:1])
    gone = hosts[0].address
    assert all(old in (new, gone) for old, new in zip(before, after, strict=True))
    heirs = Counter(new for old, new in zip(before, after, strict=True) if old == gone)
    assert heirs.keys() == {host.address for host in hosts[1:]}
    assert max(heirs.values()) < 0.5 * heirs.total()


# Work.


def test_work_does_not_grow_with_the_square_of_the_hosts() -> None:
    hosts = pool(*[1] * 1000)
    balancer = maglev(hosts)
    owners(balancer, KEYS[:1])

    def change() -> None:
        balancer.update(hosts[1:])
        owners(balancer, KEYS[:1])

    counts = calls(change)
    assert counts["stable_hash"] == 2 * 999
    assert counts.total() < 40 * 1000
