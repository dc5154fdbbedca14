"""The sliding window against a model that remembers every request, under every way of asking."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.filters.limits.meter import NEVER
from gateway.filters.limits.sliding_window import STEPS, SlidingWindow

WINDOW_S = 12.0

steps = st.lists(st.tuples(st.floats(0, 4), st.integers(1, 12)), min_size=1, max_size=200)
"""How long after the one before, and how much is asked for."""


@dataclass
class Taken:
    """Everything that was ever taken, by when."""

    amounts: list[tuple[float, int]] = field(default_factory=list)

    def most_in_a_window(self) -> int:
        """The most that any window holds: one that begins with a request is enough to look at."""
        return max(
            (sum(amount for at, amount in self.amounts if begin <= at < begin + WINDOW_S) for begin, _ in self.amounts),
            default=0,
        )

    def within(self, now: float, window_s: float) -> int:
        return sum(amount for at, amount in self.amounts if at > now - window_s)


@given(steps, st.integers(1, 40))
def test_no_window_ever_holds_more_than_the_limit(asked: list[tuple[float, int]], limit: int) -> None:
    window, taken, now = SlidingWindow(WINDOW_S), Taken(), 1000.0
    for pause, amount in asked:
        now += pause
        if not window.wait(now, amount, limit):
            window.take(now, amount, limit)
            taken.amounts.append((now, amount))
    assert taken.most_in_a_window() <= limit


@given(steps, st.integers(1, 40))
def test_what_fits_into_a_window_of_one_step_more_is_admitted(asked: list[tuple[float, int]], limit: int) -> None:
    window, taken, now = SlidingWindow(WINDOW_S), Taken(), 1000.0
    for pause, amount in asked:
        now += pause
        wait = window.wait(now, amount, limit)
        if taken.within(now, WINDOW_S * (STEPS + 1) / STEPS + 1e-6) + amount <= limit:
            assert wait == 0
        if not wait:
            window.take(now, amount, limit)
            taken.amounts.append((now, amount))


@pytest.mark.parametrize("gap_s", [0.001, 0.0173, 0.05])
def test_99_per_cent_of_the_limit_is_admitted_under_excess(gap_s: float) -> None:
    window, limit, windows = SlidingWindow(WINDOW_S), 200, 20
    admitted, now, begin = 0, 1000.03, 1000.03
    while now < begin + windows * WINDOW_S:
        if not window.wait(now, 1, limit):
            window.take(now, 1, limit)
            admitted += 1
        now += gap_s
    assert 0.99 * limit * windows <= admitted <= limit * (windows + 1)


@given(steps, st.integers(1, 40))
def test_after_the_wait_that_it_tells_the_amount_fits_and_not_before(
    asked: list[tuple[float, int]], limit: int
) -> None:
    window, now = SlidingWindow(WINDOW_S), 1000.0
    for pause, amount in asked:
        now += pause
        wait = window.wait(now, amount, limit)
        if wait == NEVER:
            assert amount > limit
        elif wait:
            assert window.wait(now + wait - 1e-3, amount, limit) > 0
            now += wait + 1e-6
            assert window.wait(now, amount, limit) == 0
        else:
            window.take(now, amount, limit)


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 9), st.integers(0, 15)), max_size=60))
@settings(max_examples=200)
def test_what_is_settled_counts_as_what_was_used(requests: list[tuple[float, int, int]]) -> None:
    """Refunds count at the time they were taken, what was used beyond at the end: as many as are left are in the end
    what was used within a window."""
    window, now, limit = SlidingWindow(WINDOW_S), 1000.0, 10**6
    for pause, taken, used in requests:
        mark = window.take(now, taken, limit)
        window.settle(now + pause, mark, taken, used, limit)
        now += pause
    total = limit - window.read(now, limit).remaining
    assert 0 <= total <= sum(used for _, _, used in requests)
    if sum(pause for pause, _, _ in requests) < WINDOW_S:
        assert total == sum(used for _, _, used in requests)
    assert window.read(now + WINDOW_S * 1.01, limit).remaining == limit


def test_what_was_refunded_is_free_at_once_and_what_has_left_the_window_is_not_refunded_twice() -> None:
    window = SlidingWindow(WINDOW_S)
    early, late = window.take(100.0, 5, 10), window.take(106.0, 5, 10)
    assert window.wait(106.0, 1, 10) > 0
    window.settle(107.0, late, 5, 0, 10)
    assert window.read(107.0, 10).remaining == 5
    window.settle(113.0, early, 5, 0, 10)
    assert window.read(113.0, 10).remaining == 10


def test_reading_tells_when_all_is_free() -> None:
    window = SlidingWindow(WINDOW_S)
    assert window.is_idle(100.0)
    window.take(100.0, 4, 10)
    reading = window.read(103.0, 10)
    assert reading.remaining == 6
    assert WINDOW_S - 3 <= reading.reset_s <= WINDOW_S - 3 + WINDOW_S / STEPS + 1e-9
    assert not window.is_idle(103.0)
    assert window.is_idle(103.0 + reading.reset_s + 1e-6)


def test_memory_is_that_of_the_steps_however_much_is_counted() -> None:
    window = SlidingWindow(WINDOW_S)
    for number in range(100_000):
        window.take(number / 1000, 1, 10)
    assert len(window._steps) <= STEPS + 1
