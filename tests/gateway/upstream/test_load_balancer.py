"""Shares of endpoints: exact for round robin, fair for least request, and nobody starves whatever else happens."""

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.snapshot import BalancingPolicy, EndpointConfig, UpstreamConfig
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.load_balancer import BALANCERS, LeastRequest, LoadBalancer, RoundRobin


def endpoint(name: str, weight: int = 1, *, active: int = 0) -> Endpoint:
    config = EndpointConfig(address=name, url=f"http://{name}", weight=weight)
    return Endpoint(config=config, since=datetime.now(UTC), active_requests=active)


def endpoints(weights: Iterable[int]) -> list[Endpoint]:
    return [endpoint(f"e{number}", weight) for number, weight in enumerate(weights)]


def picks(balancer: LoadBalancer, among: Sequence[Endpoint], times: int) -> Counter[str]:
    chosen = [balancer.pick(among, ()) for _ in range(times)]
    return Counter(each.address for each in chosen if each is not None)


def balancers() -> list[LoadBalancer]:
    return [RoundRobin(), LeastRequest(2, Random(1)), LeastRequest(100, Random(1))]


weights_of = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def chi_square(found: Counter[str], among: Sequence[Endpoint]) -> float:
    turns = found.total()
    total = sum(each.config.weight for each in among)
    expected = {each.address: turns * each.config.weight / total for each in among}
    return sum((found[name] - share) ** 2 / share for name, share in expected.items())


# 99.99 % of fair draws stay below; draws are from a fixed seed, so a test that passes does so always.
CHI_SQUARE_LIMIT = {1: 15.1, 2: 18.4, 3: 21.1, 4: 23.5, 5: 25.7}


# All algorithms.


@pytest.mark.parametrize("balancer", balancers())
def test_nothing_to_choose_from(balancer: LoadBalancer) -> None:
    assert balancer.pick([], ()) is None


@pytest.mark.parametrize("balancer", balancers())
def test_one_endpoint_is_chosen_always(balancer: LoadBalancer) -> None:
    only = endpoint("e")
    assert all(balancer.pick([only], ()) is only for _ in range(5))
    assert balancer.pick([only], [only]) is None


@pytest.mark.parametrize("make", [RoundRobin, lambda: LeastRequest(2, Random(3))])
@given(weights=weights_of, data=st.data())
def test_excluded_endpoints_are_never_chosen(
    make: Callable[[], LoadBalancer], weights: list[int], data: st.DataObject
) -> None:
    balancer = make()
    among = endpoints(weights)
    for _ in range(10):
        excluded: Collection[Endpoint] = data.draw(
            st.sets(st.sampled_from(range(len(among)))).map(lambda places: {among[place] for place in places})
        )
        chosen = balancer.pick(among, excluded)
        assert chosen not in excluded
        assert (chosen is None) == (len(excluded) == len(among))


@pytest.mark.parametrize("make", [RoundRobin, lambda: LeastRequest(2, Random(3))])
@settings(max_examples=30)
@given(sets=st.lists(st.sets(st.integers(0, 4), min_size=1), max_size=20), weights=st.tuples(*[st.integers(1, 9)] * 5))
def test_nobody_starves_when_the_set_changes(
    make: Callable[[], LoadBalancer], sets: list[set[int]], weights: tuple[int, ...]
) -> None:
    """Whatever came before, once the set stays everybody in it has its turn."""
    balancer = make()
    known = endpoints(weights)
    for members in sets:
        balancer.pick([known[place] for place in sorted(members)], ())
    turns = 20 * sum(weights)
    assert picks(balancer, known, turns).keys() == {each.address for each in known}


# Round robin.


@given(weights_of, st.integers(1, 3))
def test_round_robin_is_exact(weights: list[int], rounds: int) -> None:
    balancer, among = RoundRobin(), endpoints(weights)
    for _ in range(rounds):
        found = picks(balancer, among, sum(weights))
        assert [found[each.address] for each in among] == weights


def test_round_robin_spreads_the_turns_of_the_heavy() -> None:
    balancer, among = RoundRobin(), endpoints([4, 1, 1])
    turns = [chosen.address for _ in range(6) if (chosen := balancer.pick(among, ())) is not None]
    assert turns == ["e0", "e0", "e1", "e0", "e2", "e0"]


def test_round_robin_in_turn() -> None:
    balancer, among = RoundRobin(), endpoints([1, 1, 1])
    turns = [chosen.address for _ in range(6) if (chosen := balancer.pick(among, ())) is not None]
    assert turns == ["e0", "e1", "e2"] * 2


@given(weights_of, st.lists(st.sets(st.integers(0, 5)), max_size=30))
def test_round_robin_is_exact_again_after_exclusions(weights: list[int], exclusions: list[set[int]]) -> None:
    """Retries, which exclude, shift the order of turns but owe nobody more than a few of them."""
    balancer, among = RoundRobin(), endpoints(weights)
    for places in exclusions:
        balancer.pick(among, [each for place, each in enumerate(among) if place in places])
    rounds = 20
    found = picks(balancer, among, rounds * sum(weights))
    for each in among:
        assert abs(found[each.address] - rounds * each.config.weight) <= len(exclusions) * len(weights)


def test_newcomer_does_not_get_all_turns_to_catch_up() -> None:
    balancer, among = RoundRobin(), endpoints([1, 1])
    picks(balancer, among, 1000)
    among.append(endpoint("new"))
    assert picks(balancer, among, 30) == {"e0": 10, "e1": 10, "new": 10}


def test_one_that_was_away_does_not_get_all_turns_to_catch_up() -> None:
    balancer, among = RoundRobin(), endpoints([1, 1, 1])
    picks(balancer, among, 7)
    picks(balancer, among[:2], 1000)
    found = picks(balancer, among, 30)
    assert all(9 <= found[each.address] <= 11 for each in among)


def test_changed_weights_count_at_once() -> None:
    balancer, among = RoundRobin(), endpoints([1, 1])
    picks(balancer, among, 10)
    among[0].reconfigure(EndpointConfig(address="e0", url="http://e0", weight=3))
    found = picks(balancer, among, 40)
    assert abs(found["e0"] - 30) <= 1


class WatchedEndpoint(Endpoint):
    """An endpoint whose end can be seen."""


def test_round_robin_forgets_endpoints_that_are_gone() -> None:
    balancer, kept = RoundRobin(), endpoint("kept")
    config = EndpointConfig(address="gone", url="http://gone")
    gone = WatchedEndpoint(config=config, since=datetime.now(UTC))
    picks(balancer, [kept, gone], 5)
    seen = weakref.ref(gone)
    del gone
    picks(balancer, [kept], 5)
    gc.collect()
    assert seen() is None


# Least request.


def test_least_request_prefers_the_idle() -> None:
    busy, idle = endpoint("busy", active=1), endpoint("idle")
    assert picks(LeastRequest(2, Random(1)), [busy, idle], 100) == {"idle": 100}


def test_least_request_counts_load_in_proportion_to_weight() -> None:
    heavy, light = endpoint("heavy", 4, active=3), endpoint("light", 1, active=1)
    assert picks(LeastRequest(2, Random(1)), [heavy, light], 100) == {"heavy": 100}
    heavy.active_requests = 5
    assert picks(LeastRequest(2, Random(1)), [heavy, light], 100) == {"light": 100}


@pytest.mark.parametrize("count", [2, 3, 100])
@pytest.mark.parametrize("active", [0, 7])
def test_least_request_is_fair_among_equals(count: int, active: int) -> None:
    among = [endpoint(f"e{number}", active=active) for number in range(4)]
    assert chi_square(picks(LeastRequest(count, Random(1)), among, 8000), among) < CHI_SQUARE_LIMIT[3]


@pytest.mark.parametrize("weights", [[3, 1], [1, 1, 2], [9, 1, 1, 1], [2, 2, 2, 5, 5]])
def test_least_request_shares_idle_endpoints_by_weight(weights: list[int]) -> None:
    """Requests that come one after another find everybody idle: then too the heavy one gets its share, not all."""
    among = endpoints(weights)
    found = picks(LeastRequest(100, Random(1)), among, 8000)
    assert chi_square(found, among) < CHI_SQUARE_LIMIT[len(weights) - 1]


@pytest.mark.parametrize("weights", [[3, 1], [1, 2, 3, 4]])
@pytest.mark.parametrize("count", [2, 100])
def test_least_request_settles_at_loads_by_weight(weights: list[int], count: int) -> None:
    """Under a steady load each endpoint holds requests in proportion to its weight."""
    random = Random(1)
    balancer, among = LeastRequest(count, random), endpoints(weights)
    running: list[Endpoint] = []
    for _ in range(20_000):
        if len(running) == 20 * len(weights):
            running.pop(random.randrange(len(running))).active_requests -= 1
        chosen = balancer.pick(among, ())
        assert chosen is not None
        chosen.active_requests += 1
        running.append(chosen)
    total = sum(weights)
    for each in among:
        assert each.active_requests == pytest.approx(len(running) * each.config.weight / total, rel=0.25)


def test_least_request_looks_at_a_few_only() -> None:
    """Of a hundred with one idle among them, drawing two finds it about every fiftieth time."""
    among = [endpoint(f"e{number}", active=5) for number in range(99)] + [endpoint("idle")]
    found = picks(LeastRequest(2, Random(1)), among, 5000)
    assert 50 < found["idle"] < 160


@pytest.mark.parametrize("policy", BalancingPolicy)
def test_every_policy_has_its_balancer(policy: BalancingPolicy) -> None:
    among = endpoints([1, 1, 1])
    config = UpstreamConfig(name="u", endpoints=(), balancing=policy, choice_count=2)
    assert picks(BALANCERS[policy](config, Random(1)), among, 100).total() == 100
