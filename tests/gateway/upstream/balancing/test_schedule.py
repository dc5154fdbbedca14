"""Turns in proportion to weights, whoever comes, goes, is passed over or changes."""

import gc
import weakref
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.balancing.schedule import Schedule
from tests.gateway.upstream.balancing.hosts import FakeHost, pool

WEIGHTS = st.lists(st.integers(1, 128), min_size=1, max_size=8)
SMALL_WEIGHTS = st.lists(st.integers(1, 9), min_size=2, max_size=6)
SEEDS = st.integers(0, 1000)


def schedule_of(hosts: list[FakeHost], *, seed: int = 1) -> Schedule[FakeHost]:
    schedule: Schedule[FakeHost] = Schedule(Random(seed), lambda host: host.weight)
    schedule.update(hosts)
    return schedule


def chosen(schedule: Schedule[FakeHost], times: int, *exclude: FakeHost) -> list[FakeHost]:
    found = [schedule.next(exclude) for _ in range(times)]
    return [host for host in found if host is not None]


def most_deviation(host: FakeHost, hosts: list[FakeHost]) -> float:
    """How many turns the host may be ahead or behind.

    In the schedule's own time each host is less than one turn off. Counted in turns of all, its own deviation e and
    those of the others make (1 - share) * e - share * (sum of the others' e).
    """
    share = host.weight / sum(each.weight for each in hosts)
    return (1 - share) + share * (len(hosts) - 1) + 1e-6


@given(WEIGHTS, SEEDS)
@settings(max_examples=50, deadline=None)
def test_at_every_moment_each_host_has_had_about_its_share(weights: list[int], seed: int) -> None:
    hosts = pool(*weights)
    counts = Counter[FakeHost]()
    for number, host in enumerate(chosen(schedule_of(hosts, seed=seed), 400), start=1):
        counts[host] += 1
        for each in hosts:
            ideal = number * each.weight / sum(weights)
            assert abs(counts[each] - ideal) <= most_deviation(each, hosts)


@given(WEIGHTS, SEEDS, st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_each_round_is_exact(weights: list[int], seed: int, rounds: int) -> None:
    hosts = pool(*weights)
    schedule = schedule_of(hosts, seed=seed)
    for _ in range(rounds):
        found = Counter(chosen(schedule, sum(weights)))
        assert [found[host] for host in hosts] == weights


@given(st.integers(1, 9), SEEDS)
@settings(max_examples=50, deadline=None)
def test_equal_hosts_take_turns_in_one_order(count: int, seed: int) -> None:
    schedule = schedule_of(pool(*[3] * count), seed=seed)
    first = chosen(schedule, count)
    assert len(set(first)) == count
    assert chosen(schedule, 3 * count) == 3 * first


def test_turns_of_the_heavy_are_spread() -> None:
    heavy, *others = pool(4, 1, 1)
    turns = chosen(schedule_of([heavy, *others]), 60)
    gaps = "".join("h" if host is heavy else "." for host in turns)
    assert "..." not in gaps
    assert "hhhhh" not in gaps


def test_nodes_that_start_together_begin_with_different_hosts() -> None:
    hosts = pool(1, 1, 1, 1)
    firsts = Counter(chosen(schedule_of(hosts, seed=seed), 1)[0] for seed in range(400))
    assert all(50 < firsts[host] < 150 for host in hosts)


# Exclusion.


@given(SMALL_WEIGHTS, SEEDS, st.lists(st.sets(st.integers(0, 5)), max_size=30))
@settings(max_examples=50, deadline=None)
def test_exclusions_cost_nobody_more_than_the_turns_that_were_passed_over(
    weights: list[int], seed: int, exclusions: list[set[int]]
) -> None:
    hosts = pool(*weights)
    schedule = schedule_of(hosts, seed=seed)
    for places in exclusions:
        excluded = [host for place, host in enumerate(hosts) if place in places]
        host = schedule.next(excluded)
        assert host not in excluded
        assert (host is None) == (len(excluded) == len(hosts))
    rounds = 20
    found = Counter(chosen(schedule, rounds * sum(weights)))
    for host in hosts:
        assert abs(found[host] - rounds * host.weight) <= 2 * most_deviation(host, hosts)


def test_the_others_share_what_an_excluded_host_would_have_had() -> None:
    hosts = pool(5, 3, 2)
    found = Counter(chosen(schedule_of(hosts), 5000, hosts[0]))
    assert found == {hosts[1]: 3000, hosts[2]: 2000}


def test_a_host_that_was_excluded_for_long_has_one_turn_more_and_not_all_that_it_missed() -> None:
    first, *others = hosts = pool(1, 1, 1)
    schedule = schedule_of(hosts)
    chosen(schedule, 10_000, first)
    found = Counter(chosen(schedule, 30))
    assert 10 <= found[first] <= 11
    assert all(9 <= found[host] <= 10 for host in others)


def test_a_newcomer_does_not_have_the_turns_of_a_time_when_one_was_excluded() -> None:
    first, second, newcomer = pool(1, 1, 1)
    schedule = schedule_of([first, second])
    chosen(schedule, 10_000, first)
    schedule.update([first, second, newcomer])
    assert Counter(chosen(schedule, 3000, first))[newcomer] <= 1501


# Changes.


@given(SMALL_WEIGHTS, SEEDS, st.lists(st.sets(st.integers(0, 5), min_size=1), max_size=15))
@settings(max_examples=50, deadline=None)
def test_whatever_came_before_the_shares_are_right_once_the_hosts_stay(
    weights: list[int], seed: int, memberships: list[set[int]]
) -> None:
    hosts = pool(*weights)
    schedule = schedule_of(hosts, seed=seed)
    for places in memberships:
        members = [host for place, host in enumerate(hosts) if place in places]
        schedule.update(members)
        assert set(chosen(schedule, 7)) <= set(members)
    schedule.update(hosts)
    rounds = 20
    found = Counter(chosen(schedule, rounds * sum(weights)))
    for host in hosts:
        assert abs(found[host] - rounds * host.weight) <= 2 * most_deviation(host, hosts)


@given(SMALL_WEIGHTS, SEEDS, st.integers(0, 50))
@settings(max_examples=50, deadline=None)
def test_updates_that_change_nothing_change_no_turn(weights: list[int], seed: int, before: int) -> None:
    hosts = pool(*weights)
    left_alone, updated = schedule_of(hosts, seed=seed), schedule_of(hosts, seed=seed)
    chosen(left_alone, before)
    chosen(updated, before)
    updated.update(hosts)
    assert chosen(updated, 100) == chosen(left_alone, 100)


def test_the_first_turn_of_a_newcomer_is_at_any_place_of_a_round() -> None:
    """A newcomer is not the next of every node at the same moment."""
    places = Counter[int]()
    for seed in range(300):
        *others, newcomer = pool(1, 1, 1)
        schedule = schedule_of(others, seed=seed)
        chosen(schedule, 100)
        schedule.update([*others, newcomer])
        places[chosen(schedule, 3).index(newcomer)] += 1
    # Before or after the one whose turn is next, which is two thirds of a round away on average. The other has just
    # had its turn.
    assert places.keys() == {0, 1}
    assert 170 < places[0] < 230


def test_a_host_that_was_away_does_not_catch_up() -> None:
    hosts = pool(1, 1, 1)
    schedule = schedule_of(hosts)
    schedule.update(hosts[:2])
    chosen(schedule, 10_000)
    schedule.update(hosts)
    found = Counter(chosen(schedule, 300))
    assert all(99 <= found[host] <= 101 for host in hosts)


@pytest.mark.parametrize("weight", [0.25, 4])
def test_a_changed_weight_counts_from_the_next_turn_on(weight: float) -> None:
    changing, other = pool(1, 1)
    schedule = schedule_of([changing, other])
    chosen(schedule, 11)
    changing.weight = weight
    found = Counter(chosen(schedule, 1000))
    assert found[changing] == pytest.approx(1000 * weight / (1 + weight), abs=2)


def test_an_update_brings_the_turn_of_a_host_near_that_has_become_heavier() -> None:
    growing, other = pool(1e-6, 1)
    schedule = schedule_of([growing, other])
    assert set(chosen(schedule, 100)) == {other}
    growing.weight = 1
    schedule.update([growing, other])
    assert growing in chosen(schedule, 2)


def test_a_host_without_weight_has_no_turn_while_others_have_weight() -> None:
    weightless, other = pool(0, 1)
    assert set(chosen(schedule_of([weightless, other]), 1000)) == {other}
    assert chosen(schedule_of([weightless]), 1) == [weightless]


def test_nobody_to_choose_from() -> None:
    schedule = schedule_of([])
    assert schedule.next(()) is None
    hosts = pool(1)
    assert schedule.next(hosts) is None


class WatchedHost(FakeHost):
    """A host whose end can be seen."""

    __slots__ = ("__weakref__",)


def test_hosts_that_are_gone_are_forgotten() -> None:
    kept, gone = FakeHost("kept"), WatchedHost("gone")
    schedule = schedule_of([kept, gone])
    chosen(schedule, 5)
    seen = weakref.ref(gone)
    schedule.update([kept])
    del gone
    gc.collect()
    assert seen() is None


# Work.


def counting(asked: list[FakeHost]) -> Callable[[FakeHost], float]:
    def weight(host: FakeHost) -> float:
        asked.append(host)
        return host.weight

    return weight


def test_work_does_not_grow_with_the_square_of_the_hosts() -> None:
    hosts = pool(*[1] * 1000)
    asked: list[FakeHost] = []
    schedule: Schedule[FakeHost] = Schedule(Random(1), counting(asked))
    schedule.update(hosts)
    asked.clear()
    schedule.update(hosts[1:])
    assert len(asked) <= 1000
    asked.clear()
    for _ in range(100):
        schedule.next(())
        schedule.next(hosts[5:8])
    assert len(asked) <= 200
