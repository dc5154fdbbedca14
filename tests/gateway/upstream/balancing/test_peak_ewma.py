"""Lowest latency: quick hosts are preferred, slow ones get another chance, and unknown ones are not flooded."""

from random import Random

import pytest

from gateway.upstream.balancing.latency import PeakEwma
from gateway.upstream.balancing.peak_ewma import LowestLatency
from tests.gateway.upstream.balancing.hosts import FakeHost, pick, pool, turns
from tests.gateway.upstream.balancing.laws import chi_square_excess

PICKS = 100_000


class Clock:
    """A clock that a test puts forward."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def timed(clock: Clock, *latencies: float | None) -> list[FakeHost]:
    """Hosts that took that long last; None has not answered yet."""
    hosts = pool(*[1] * len(latencies))
    for host, latency_s in zip(hosts, latencies, strict=True):
        host.latency = PeakEwma(clock=clock)
        if latency_s is not None:
            host.latency.observe(latency_s)
    return hosts


def lowest_latency(hosts: list[FakeHost]) -> LowestLatency[FakeHost]:
    balancer: LowestLatency[FakeHost] = LowestLatency(Random(13))
    balancer.update(hosts)
    return balancer


def test_the_quicker_of_two_drawn_is_picked() -> None:
    """The host of rank r is picked if the other one drawn is of a higher rank."""
    hosts = timed(Clock(), 0.1, 0.2, 0.3, 0.4, 0.5)
    found = turns(lowest_latency(hosts), PICKS)
    assert chi_square_excess(found, {host: 4 - rank for rank, host in enumerate(hosts[:4])}) < 1


def test_equals_are_picked_alike() -> None:
    hosts = timed(Clock(), 0.1, 0.1, 0.1, 0.1)
    assert chi_square_excess(turns(lowest_latency(hosts), PICKS), dict.fromkeys(hosts, 1)) < 1


def test_differences_below_a_tenth_of_a_millisecond_are_noise() -> None:
    hosts = timed(Clock(), 0.00001, 0.00009)
    assert chi_square_excess(turns(lowest_latency(hosts), PICKS), dict.fromkeys(hosts, 1)) < 1


@pytest.mark.parametrize(("active", "is_preferred"), [(2, True), (4, False)])
def test_requests_in_flight_count_as_often_as_they_take(active: int, is_preferred: bool) -> None:
    quick, slow = hosts = timed(Clock(), 0.1, 0.4)
    quick.active_requests = active
    assert turns(lowest_latency(hosts), 50) == {quick if is_preferred else slow: 50}


@pytest.mark.parametrize(("weight", "is_preferred"), [(3, False), (5, True)])
def test_weight_makes_a_host_cheaper(weight: int, is_preferred: bool) -> None:
    light, heavy = hosts = timed(Clock(), 0.1, 0.4)
    heavy.weight = weight
    assert turns(lowest_latency(hosts), 50) == {heavy if is_preferred else light: 50}


def test_a_slow_host_gets_another_chance_after_a_while_and_its_share_once_it_is_quick() -> None:
    clock = Clock()
    _, slow = hosts = timed(clock, 0.1, 2.0)
    balancer = lowest_latency(hosts)
    chosen: list[tuple[float, FakeHost]] = []
    for _ in range(300):
        clock.now += 0.5
        host = pick(balancer)
        host.latency.observe(0.1)
        chosen.append((clock.now, host))
    # 2 s fade to 0.1 s in ln(20) = 3 times the decay of 10 s.
    assert next(at for at, host in chosen if host is slow) == pytest.approx(30, abs=1)
    assert 40 < sum(host is slow for _, host in chosen[-100:]) < 60


def test_a_host_that_slows_down_is_avoided_from_its_first_slow_answer_on() -> None:
    hosts = timed(Clock(), 0.1, 0.1, 0.1)
    balancer = lowest_latency(hosts)
    hosts[1].latency.observe(5.0)
    found = turns(balancer, 1000)
    assert hosts[1] not in found
    assert chi_square_excess(found, {hosts[0]: 1, hosts[2]: 1}) < 1


def test_a_host_that_nobody_has_asked_yet_is_asked_soon() -> None:
    *_, unknown = hosts = timed(Clock(), 0.1, 0.1, None)
    assert unknown in turns(lowest_latency(hosts), 20)


@pytest.mark.parametrize("latency_s", [0.01, 30.0])
def test_a_host_is_not_flooded_before_its_first_answer(latency_s: float) -> None:
    *known, unknown = hosts = timed(Clock(), latency_s, latency_s, None)
    balancer = lowest_latency(hosts)
    for _ in range(60):
        pick(balancer).active_requests += 1
    assert unknown.active_requests == 1
    assert all(host.active_requests >= 25 for host in known)


def test_where_nobody_has_answered_yet_the_least_busy_of_two_is_picked() -> None:
    hosts = timed(Clock(), None, None, None, None)
    balancer = lowest_latency(hosts)
    for _ in range(200):
        pick(balancer).active_requests += 1
    assert all(46 <= host.active_requests <= 54 for host in hosts)


def test_in_a_steady_state_requests_follow_the_speed_of_hosts() -> None:
    """One host is four times as slow as each of the three others: it gets requests, but far fewer."""
    clock = Clock()
    hosts = timed(clock, 0.1, 0.1, 0.1, 0.4)
    speeds = dict(zip(hosts, (0.1, 0.1, 0.1, 0.4), strict=True))
    balancer = lowest_latency(hosts)
    running: list[tuple[float, FakeHost]] = []
    found = dict.fromkeys(hosts, 0)
    for _ in range(20_000):
        clock.now += 0.01
        for entry in [entry for entry in running if entry[0] <= clock.now]:
            running.remove(entry)
            entry[1].active_requests -= 1
            entry[1].latency.observe(speeds[entry[1]])
        host = pick(balancer)
        host.active_requests += 1
        found[host] += 1
        running.append((clock.now + speeds[host], host))
    slow = hosts[-1]
    assert 100 < found[slow] < 20_000 * 0.12
    assert all(found[host] > 20_000 * 0.28 for host in hosts[:-1])
