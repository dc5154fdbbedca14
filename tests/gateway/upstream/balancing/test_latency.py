"""How long an endpoint takes: peaks at once, improvements little by little."""

from math import exp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.balancing.latency import PeakEwma


class Clock:
    """A clock that a test puts forward."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_known_at_first() -> None:
    latency = PeakEwma(clock=Clock())
    assert (latency.is_known, latency.value, latency.last) == (False, 0.0, 0.0)


def test_the_first_answer_counts_as_it_is() -> None:
    latency = PeakEwma(clock=Clock())
    latency.observe(0.25)
    assert (latency.is_known, latency.value, latency.last) == (True, 0.25, 0.25)


def test_a_peak_counts_at_once() -> None:
    clock = Clock()
    latency = PeakEwma(clock=clock)
    latency.observe(0.1)
    clock.now += 0.001
    latency.observe(3.0)
    assert latency.value == 3.0


def test_an_improvement_counts_by_the_time_that_has_passed() -> None:
    clock = Clock()
    latency = PeakEwma(clock=clock, decay_s=10)
    latency.observe(1.0)
    clock.now += 5
    latency.observe(0.2)
    assert latency.value == pytest.approx(1.0 * exp(-0.5) + 0.2 * (1 - exp(-0.5)))


def test_a_host_that_has_become_quick_is_known_as_such_after_a_few_times_the_decay() -> None:
    clock = Clock()
    latency = PeakEwma(clock=clock, decay_s=10)
    latency.observe(5.0)
    values = []
    for _ in range(60):
        clock.now += 1
        latency.observe(0.1)
        values.append(latency.value)
    assert values == sorted(values, reverse=True)
    assert values[4] > 2
    assert values[-1] < 0.15


def test_without_answers_the_value_decays_and_the_last_stays() -> None:
    clock = Clock()
    latency = PeakEwma(clock=clock, decay_s=10)
    latency.observe(2.0)
    clock.now += 20
    assert latency.value == pytest.approx(2.0 * exp(-2))
    assert latency.last == 2.0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 60)), min_size=1, max_size=30))
@settings(deadline=None)
def test_the_value_is_between_the_least_and_the_greatest_latency(steps: list[tuple[float, float]]) -> None:
    clock = Clock()
    latency = PeakEwma(clock=clock)
    observed = []
    for waited_s, latency_s in steps:
        clock.now += waited_s
        latency.observe(latency_s)
        observed.append(latency_s)
        assert min(observed) * (1 - 1e-9) <= latency.value <= max(observed) * (1 + 1e-9)
        assert latency.value >= latency_s * (1 - 1e-9)
