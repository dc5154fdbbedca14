"""Who is ejected, for how long, and who comes back: Envoy's rules, on a clock that the test puts forward."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.config.upstream import OutlierConfig
from gateway.upstream.outlier_detection import EjectionState, Outcome, OutlierDetector

START = datetime(2030, 1, 1, tzinfo=UTC)
SUCCESS, SERVER_ERROR, GATEWAY_FAILURE, LOCAL = (
    Outcome.SUCCESS,
    Outcome.SERVER_ERROR,
    Outcome.GATEWAY_FAILURE,
    Outcome.LOCAL_ORIGIN_FAILURE,
)
FAILURES = (SERVER_ERROR, GATEWAY_FAILURE, LOCAL)
OFF: dict[str, Any] = {
    "consecutive_5xx": 0,
    "consecutive_gateway_failure": 0,
    "consecutive_local_origin_failure": 0,
}
# One server error ejects, so that a test can speak of ejections alone.
AT_ONCE: dict[str, Any] = OFF | {"consecutive_5xx": 1}


class Watched:
    """Ten endpoints, 0 to 9, under a detector, and the time."""

    def __init__(self, *, hosts: int = 10, **config: Any) -> None:
        self.time_s = 100.0
        self.changes = 0
        self.config = config
        self.detector: OutlierDetector[int] = OutlierDetector(
            OutlierConfig(**config), clock=lambda: self.time_s, on_change=self._changed, now=self._now
        )
        self.detector.set_hosts(range(hosts))

    def _changed(self) -> None:
        self.changes += 1

    def _now(self) -> datetime:
        return START + timedelta(seconds=self.time_s)

    def reconfigure(self, **changes: Any) -> None:
        self.config |= changes
        self.detector.reconfigure(OutlierConfig(**self.config))

    @property
    def ejected(self) -> list[int]:
        return [host for host in range(20) if self.detector.is_ejected(host)]

    def record(self, host: int, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            self.detector.record(host, outcome)

    def answers(self, host: int, *, good: int, bad: int) -> None:
        self.record(host, *[SERVER_ERROR] * bad, *[SUCCESS] * good)

    def wait(self, seconds: float) -> None:
        """Goes on to that time, sweeping whenever it is due."""
        end = self.time_s + seconds
        while (due := self.detector.next_sweep()) <= end:
            self.time_s = max(self.time_s, due)
            self.detector.sweep()
        self.time_s = end

    def ejection_s(self, host: int) -> float:
        """How long the present ejection lasts, having waited until its end."""
        until = self.detector.state(host).ejected_until
        assert until is not None
        length_s = until - self.time_s
        self.wait(length_s)
        return length_s


# Failures in a row.


@pytest.mark.parametrize(
    ("detector", "outcome", "ejects"),
    [
        ("consecutive_5xx", SERVER_ERROR, True),
        ("consecutive_5xx", GATEWAY_FAILURE, True),
        ("consecutive_5xx", LOCAL, True),
        ("consecutive_gateway_failure", SERVER_ERROR, False),
        ("consecutive_gateway_failure", GATEWAY_FAILURE, True),
        ("consecutive_gateway_failure", LOCAL, True),
        ("consecutive_local_origin_failure", SERVER_ERROR, False),
        ("consecutive_local_origin_failure", GATEWAY_FAILURE, False),
        ("consecutive_local_origin_failure", LOCAL, True),
    ],
)
def test_a_detector_counts_its_own_kind_of_failure(detector: str, outcome: Outcome, ejects: bool) -> None:
    watched = Watched(**(OFF | {detector: 3}))
    watched.record(4, *[outcome] * 2)
    assert watched.ejected == []
    watched.record(4, outcome)
    assert watched.ejected == ([4] if ejects else [])
    assert watched.changes == len(watched.ejected)


@pytest.mark.parametrize("detector", OFF)
def test_a_success_begins_the_count_anew(detector: str) -> None:
    watched = Watched(**(OFF | {detector: 3}))
    watched.record(0, LOCAL, LOCAL, SUCCESS, LOCAL, LOCAL, SUCCESS, LOCAL, LOCAL)
    assert watched.ejected == []
    watched.record(0, LOCAL)
    assert watched.ejected == [0]


def test_a_server_error_is_not_a_gateway_failure_and_interrupts_them() -> None:
    watched = Watched(**(OFF | {"consecutive_gateway_failure": 2}))
    watched.record(0, GATEWAY_FAILURE, SERVER_ERROR, GATEWAY_FAILURE)
    assert watched.ejected == []
    watched.record(0, GATEWAY_FAILURE)
    assert watched.ejected == [0]


def test_any_answer_interrupts_local_origin_failures() -> None:
    watched = Watched(**(OFF | {"consecutive_local_origin_failure": 2}))
    watched.record(0, LOCAL, GATEWAY_FAILURE, LOCAL, SERVER_ERROR, LOCAL)
    assert watched.ejected == []
    watched.record(0, LOCAL)
    assert watched.ejected == [0]


@given(st.lists(st.sampled_from(FAILURES), max_size=30))
def test_with_all_detectors_off_nobody_is_ejected(outcomes: list[Outcome]) -> None:
    watched = Watched(**OFF)
    watched.record(0, *outcomes)
    watched.wait(1000)
    assert watched.ejected == []
    assert watched.changes == 0


@given(
    limits=st.tuples(*[st.integers(0, 4)] * 3),
    outcomes=st.lists(st.sampled_from(list(Outcome)), max_size=40),
)
def test_an_endpoint_is_ejected_with_the_first_failure_that_ends_a_long_enough_row(
    limits: tuple[int, int, int], outcomes: list[Outcome]
) -> None:
    watched = Watched(
        consecutive_5xx=limits[0], consecutive_gateway_failure=limits[1], consecutive_local_origin_failure=limits[2]
    )
    rows = [FAILURES, FAILURES[1:], FAILURES[2:]]
    for count, outcome in enumerate(outcomes, 1):
        watched.record(0, outcome)
        recent = [outcomes[count - limit : count] for limit in limits if limit]
        wanted = [row for row, limit in zip(rows, limits, strict=True) if limit]
        is_due = any(
            limit <= count and all(each in row for each in last)
            for limit, row, last in zip([each for each in limits if each], wanted, recent, strict=True)
        )
        assert watched.ejected == ([0] if is_due else [])
        if is_due:
            return


def test_the_reason_says_what_failed_and_how_often() -> None:
    watched = Watched(
        **(OFF | {"consecutive_5xx": 2, "consecutive_gateway_failure": 3, "consecutive_local_origin_failure": 1})
    )
    watched.record(0, LOCAL)
    watched.record(1, SERVER_ERROR, SERVER_ERROR)
    watched.time_s += 1
    watched.reconfigure(consecutive_5xx=0)
    watched.record(2, *[GATEWAY_FAILURE] * 3)
    assert [watched.detector.state(host).reason for host in range(3)] == [
        "ejected: 1 connection failures or timeouts in a row",
        "ejected: 2 server errors in a row",
        "ejected: 3 gateway failures in a row",
    ]
    assert watched.detector.state(2) == EjectionState(
        ejections=1,
        ejected_until=131.0,
        since=START + timedelta(seconds=101),
        reason="ejected: 3 gateway failures in a row",
    )


# How long.


def test_an_ejection_lasts_the_base_time_times_the_number_of_ejections_in_a_row() -> None:
    watched = Watched(**AT_ONCE, interval_s=10_000, base_ejection_time_s=30, max_ejection_time_s=300)
    lengths = []
    for _ in range(12):
        watched.record(0, SERVER_ERROR)
        lengths.append(watched.ejection_s(0))
        assert watched.ejected == []
    assert lengths == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]
    assert watched.detector.state(0).ejections == 12


def test_an_ejection_ends_with_its_time_and_not_before() -> None:
    watched = Watched(**AT_ONCE, base_ejection_time_s=30)
    watched.record(0, SERVER_ERROR)
    watched.wait(29.9)
    assert (watched.ejected, watched.changes) == ([0], 1)
    watched.wait(0.1)
    assert (watched.ejected, watched.changes) == ([], 2)
    assert watched.detector.state(0).since == START + timedelta(seconds=130)
    assert watched.detector.state(0).ejected_until is None


def test_the_next_ejection_is_shorter_by_one_base_time_for_every_interval_without_one() -> None:
    watched = Watched(**AT_ONCE, interval_s=10, base_ejection_time_s=1000, max_ejection_time_s=10_000)
    for _ in range(3):
        watched.record(0, SERVER_ERROR)
        watched.ejection_s(0)
    watched.wait(10 + 10)
    watched.record(0, SERVER_ERROR)
    assert watched.ejection_s(0) == 2000
    watched.wait(1000)
    watched.record(0, SERVER_ERROR)
    assert watched.ejection_s(0) == 1000


def test_failures_that_are_not_enough_to_eject_do_not_keep_ejections_long() -> None:
    watched = Watched(**(OFF | {"consecutive_5xx": 2}), interval_s=10, base_ejection_time_s=1000)
    watched.record(0, SERVER_ERROR, SERVER_ERROR)
    watched.ejection_s(0)
    watched.record(0, SERVER_ERROR)
    watched.wait(20)
    watched.record(0, SERVER_ERROR)
    assert watched.ejection_s(0) <= 300
    assert watched.detector.state(0).ejections == 2


def test_an_endpoint_that_fails_right_after_its_return_is_ejected_for_longer_wherever_the_interval_ends() -> None:
    for offset in range(1, 10):
        watched = Watched(**AT_ONCE, interval_s=10, base_ejection_time_s=30)
        watched.wait(offset)
        watched.record(0, SERVER_ERROR)
        watched.ejection_s(0)
        watched.wait(9)
        watched.record(0, SERVER_ERROR)
        assert watched.ejection_s(0) == 60


def test_many_ejections_are_forgotten_as_soon_as_those_that_make_the_longest() -> None:
    watched = Watched(**AT_ONCE, interval_s=10, base_ejection_time_s=100, max_ejection_time_s=300)
    for _ in range(50):
        watched.record(0, SERVER_ERROR)
        watched.ejection_s(0)
    watched.wait(60)
    watched.record(0, SERVER_ERROR)
    assert watched.ejection_s(0) == 100


def test_after_its_return_an_endpoint_has_all_its_failures_before_it_again() -> None:
    watched = Watched(consecutive_5xx=3, consecutive_gateway_failure=4, consecutive_local_origin_failure=5)
    watched.record(0, LOCAL, LOCAL, LOCAL)
    assert watched.ejected == [0]
    watched.ejection_s(0)
    watched.record(0, LOCAL, LOCAL)
    assert watched.ejected == []
    watched.record(0, LOCAL)
    assert watched.ejected == [0]


def test_requests_that_were_under_way_when_it_was_ejected_count_neither_then_nor_later() -> None:
    watched = Watched(
        **(OFF | {"consecutive_5xx": 3}),
        enforcing_success_rate=True,
        success_rate_minimum_hosts=2,
        success_rate_request_volume=5,
        success_rate_stdev_factor=0.5,
        interval_s=10,
        base_ejection_time_s=5,
    )
    watched.record(0, *[SERVER_ERROR] * 20)
    state = watched.detector.state(0)
    assert (state.ejections, state.ejected_until) == (1, 105)
    watched.ejection_s(0)
    watched.record(0, SERVER_ERROR, SERVER_ERROR)
    for host in range(1, 10):
        watched.answers(host, good=20, bad=0)
    assert watched.ejected == []
    watched.wait(10)
    assert watched.ejected == []


# How many.


@pytest.mark.parametrize(
    ("hosts", "percent", "ejected"),
    [
        (10, 50, 5),
        (10, 100, 10),
        (10, 39, 3),
        (3, 50, 1),
        (4, 50, 2),
        (10, 0, 1),
        (1, 0, 1),
        (1, 50, 1),
        (3, 33, 1),
        (7, 99.9, 6),
    ],
)
def test_so_many_are_ejected_at_a_time_and_one_may_always_be(hosts: int, percent: float, ejected: int) -> None:
    watched = Watched(**AT_ONCE, hosts=hosts, max_ejection_percent=percent)
    for host in range(hosts):
        watched.record(host, SERVER_ERROR)
    assert watched.ejected == list(range(ejected))
    assert watched.changes == ejected


def test_who_could_not_be_ejected_is_with_its_next_failure_once_there_is_room() -> None:
    watched = Watched(**AT_ONCE, max_ejection_percent=10, base_ejection_time_s=30)
    watched.record(0, SERVER_ERROR)
    watched.record(1, SERVER_ERROR)
    assert watched.ejected == [0]
    watched.wait(30)
    assert watched.ejected == []
    watched.record(1, SERVER_ERROR)
    assert watched.ejected == [1]


# Success rates.

RATES: dict[str, Any] = OFF | {"enforcing_success_rate": True, "interval_s": 10}


def rated(rates: Sequence[float], *, requests: int = 100, **config: Any) -> Watched:
    """Endpoints with these success rates, an interval later."""
    watched = Watched(hosts=len(rates), **(RATES | config))
    for host, rate in enumerate(rates):
        good = round(rate * requests)
        watched.answers(host, good=good, bad=requests - good)
    watched.wait(10)
    return watched


def test_an_endpoint_far_below_the_others_is_ejected_at_the_end_of_the_interval() -> None:
    watched = Watched(**RATES)
    for host in range(10):
        watched.answers(host, good=95 if host else 20, bad=5 if host else 80)
    watched.wait(9.9)
    assert watched.ejected == []
    watched.wait(0.1)
    assert (watched.ejected, watched.changes) == ([0], 1)
    assert watched.detector.state(0).reason == "ejected: success rate of 20 % far below that of others"
    assert watched.ejection_s(0) == 30


@pytest.mark.parametrize(("factor", "ejected"), [(0.5, [0, 1]), (1.4, [0]), (1.9, [0]), (2.0, []), (3.0, [])])
def test_how_far_below_is_told_in_standard_deviations(factor: float, ejected: list[int]) -> None:
    # Mean 0.8, standard deviation 0.2: thresholds are 0.7, 0.52, 0.42, 0.4 and 0.2.
    rates = [0.4, 0.7, 0.9, 0.9, 0.9, 0.9, 0.9]
    mean = sum(rates) / len(rates)
    deviation = (sum((rate - mean) ** 2 for rate in rates) / len(rates)) ** 0.5
    expected = [host for host, rate in enumerate(rates) if rate < mean - factor * deviation]
    assert rated(rates, success_rate_stdev_factor=factor, max_ejection_percent=100).ejected == expected


@pytest.mark.parametrize(("hosts", "ejected"), [(4, []), (5, [0]), (6, [0])])
def test_rates_are_compared_only_among_enough_endpoints(hosts: int, ejected: list[int]) -> None:
    assert rated([0.0, *[1.0] * (hosts - 1)], success_rate_stdev_factor=1).ejected == ejected


@pytest.mark.parametrize(("requests", "ejected"), [(99, []), (100, [0])])
def test_endpoints_with_few_requests_are_not_compared(requests: int, ejected: list[int]) -> None:
    assert rated([0.0, *[1.0] * 9], requests=requests).ejected == ejected


def test_rates_are_those_of_one_interval() -> None:
    watched = Watched(**RATES)
    for _ in range(2):
        for host in range(10):
            watched.answers(host, good=0 if host == 0 else 60, bad=60 if host == 0 else 0)
        watched.wait(10)
    assert watched.ejected == []


def test_no_more_are_ejected_for_their_rates_than_may_be() -> None:
    watched = rated([0.0, 0.0, *[1.0] * 8], success_rate_stdev_factor=0.1, max_ejection_percent=10)
    assert len(watched.ejected) == 1


def test_success_rates_are_compared_only_where_that_is_configured() -> None:
    assert rated([0.0, *[1.0] * 9], enforcing_success_rate=False).ejected == []


@given(st.integers(0, 200), st.integers(5, 15), st.floats(0.1, 3))
def test_equal_rates_eject_nobody(good: int, hosts: int, factor: float) -> None:
    watched = rated([good / 200] * hosts, requests=200, success_rate_stdev_factor=factor, max_ejection_percent=100)
    assert watched.ejected == []


@given(st.lists(st.integers(0, 50), min_size=5, max_size=12), st.floats(0.1, 3))
def test_the_best_is_never_ejected_for_its_rate(goods: list[int], factor: float) -> None:
    watched = rated(
        [good / 50 for good in goods],
        requests=50,
        success_rate_request_volume=50,
        success_rate_stdev_factor=factor,
        max_ejection_percent=100,
    )
    best = max(goods)
    assert all(goods[host] < best for host in watched.ejected)


# Who comes back early, and what a change keeps.


def test_an_active_check_that_passes_brings_an_endpoint_back_at_once() -> None:
    watched = Watched(**AT_ONCE)
    watched.record(0, SERVER_ERROR)
    watched.record(1, SERVER_ERROR)
    watched.wait(1)
    watched.detector.unmark(0)
    assert (watched.ejected, watched.changes) == ([1], 3)
    assert watched.detector.state(0).since == START + timedelta(seconds=101)
    watched.detector.unmark(0)
    watched.detector.unmark(99)
    assert watched.changes == 3


def test_who_was_brought_back_early_is_ejected_for_longer_when_it_fails_again() -> None:
    watched = Watched(**AT_ONCE)
    watched.record(0, SERVER_ERROR)
    watched.detector.unmark(0)
    watched.record(0, SERVER_ERROR)
    assert watched.ejection_s(0) == 60


def test_endpoints_that_stay_keep_all_that_is_known_of_them() -> None:
    watched = Watched(**(OFF | {"consecutive_5xx": 2}), hosts=4)
    watched.record(0, SERVER_ERROR, SERVER_ERROR)
    watched.record(1, SERVER_ERROR)
    before = watched.detector.state(0)
    watched.detector.set_hosts([5, 1, 0])
    assert watched.detector.state(0) == before
    watched.record(1, SERVER_ERROR)
    assert watched.ejected == [0]  # one of three: no room for another
    watched.wait(30)
    watched.record(1, SERVER_ERROR)
    assert watched.ejected == [1]


def test_an_endpoint_that_left_is_not_known_any_more_and_makes_room() -> None:
    watched = Watched(**AT_ONCE, hosts=2)
    watched.record(0, SERVER_ERROR)
    watched.record(1, SERVER_ERROR)
    assert watched.ejected == [0]
    watched.detector.set_hosts([1, 2])
    watched.record(0, SERVER_ERROR)
    assert watched.detector.state(0) == EjectionState()
    watched.record(1, SERVER_ERROR)
    assert watched.ejected == [1]
    watched.detector.set_hosts([0, 1])
    assert watched.ejected == [1]


def test_ejections_go_on_as_they_began_when_the_times_change() -> None:
    watched = Watched(**AT_ONCE, base_ejection_time_s=30)
    watched.record(0, SERVER_ERROR)
    watched.reconfigure(base_ejection_time_s=1000, max_ejection_time_s=1000)
    watched.wait(30)
    assert watched.ejected == []


def test_failures_so_far_count_under_a_new_threshold() -> None:
    watched = Watched(**(OFF | {"consecutive_5xx": 5}))
    watched.record(0, *[SERVER_ERROR] * 3)
    watched.reconfigure(consecutive_5xx=2)
    assert watched.ejected == []
    watched.record(0, SERVER_ERROR)
    assert watched.ejected == [0]


def test_what_is_forgotten_is_as_if_it_had_never_been() -> None:
    watched = Watched(**AT_ONCE)
    watched.record(0, SERVER_ERROR)
    watched.detector.forget()
    assert watched.ejected == []
    assert watched.detector.state(0).ejections == 0
    watched.record(0, SERVER_ERROR)
    assert watched.ejection_s(0) == 30


# When to sweep.


def test_a_sweep_is_due_at_the_end_of_the_interval_or_of_an_earlier_ejection() -> None:
    watched = Watched(**AT_ONCE, interval_s=10, base_ejection_time_s=4)
    assert watched.detector.next_sweep() == 110
    watched.record(0, SERVER_ERROR)
    assert watched.detector.next_sweep() == 104
    watched.wait(4)
    assert watched.detector.next_sweep() == 110
    watched.wait(6)
    assert watched.detector.next_sweep() == 120


def test_an_early_sweep_does_nothing() -> None:
    watched = Watched(**AT_ONCE)
    watched.record(0, SERVER_ERROR)
    watched.time_s += 5
    watched.detector.sweep()
    assert (watched.ejected, watched.changes) == ([0], 1)


def test_a_late_sweep_does_at_once_what_was_due() -> None:
    watched = Watched(**AT_ONCE)
    watched.record(0, SERVER_ERROR)
    watched.record(1, SERVER_ERROR)
    watched.time_s += 1000
    watched.detector.sweep()
    assert (watched.ejected, watched.changes) == ([], 3)
    assert watched.detector.next_sweep() > watched.time_s


# All of it together.


class Detection(RuleBasedStateMachine):
    """Whatever happens, the bounds hold and every ejection ends."""

    @initialize(
        hosts=st.integers(1, 8),
        percent=st.sampled_from([0, 10, 34, 50, 100]),
        base_s=st.sampled_from([1, 7, 30]),
        interval_s=st.sampled_from([1, 10]),
    )
    def begin(self, hosts: int, percent: float, base_s: float, interval_s: float) -> None:
        self.watched = Watched(
            hosts=hosts,
            consecutive_5xx=3,
            consecutive_gateway_failure=2,
            consecutive_local_origin_failure=1,
            max_ejection_percent=percent,
            base_ejection_time_s=base_s,
            max_ejection_time_s=60,
            interval_s=interval_s,
            enforcing_success_rate=True,
            success_rate_minimum_hosts=2,
            success_rate_request_volume=2,
            success_rate_stdev_factor=0.5,
        )
        self.hosts = set(range(hosts))
        self.most = max(1, int(percent * hosts / 100))

    @rule(host=st.integers(0, 9), outcome=st.sampled_from(list(Outcome)))
    def request(self, host: int, outcome: Outcome) -> None:
        self.watched.record(host, outcome)

    @rule(seconds=st.sampled_from([0.5, 5, 30]))
    def time(self, seconds: float) -> None:
        self.watched.wait(seconds)

    @rule(host=st.integers(0, 9))
    def check(self, host: int) -> None:
        self.watched.detector.unmark(host)
        assert not self.watched.detector.is_ejected(host)

    @rule(hosts=st.sets(st.integers(0, 9), min_size=1, max_size=8))
    def reconcile(self, hosts: set[int]) -> None:
        before = {host: self.watched.detector.state(host) for host in hosts & self.hosts}
        self.watched.detector.set_hosts(hosts)
        assert {host: self.watched.detector.state(host) for host in before} == before
        self.hosts = hosts
        percent = self.watched.config["max_ejection_percent"]
        self.most = max(1, int(percent * len(hosts) / 100), len(self.watched.ejected))

    @invariant()
    def bounds_hold(self) -> None:
        ejected = self.watched.ejected
        assert len(ejected) <= self.most
        assert self.hosts.issuperset(ejected)
        for host in ejected:
            until = self.watched.detector.state(host).ejected_until
            assert until is not None
            assert 0 < until - self.watched.time_s <= 60

    def teardown(self) -> None:
        if hasattr(self, "watched"):
            self.watched.wait(61)
            assert self.watched.ejected == []


TestDetection = Detection.TestCase
