"""The bucket against one that is filled drop by drop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.filters.limits.meter import NEVER
from gateway.filters.limits.token_bucket import TokenBucket

WINDOW_S = 10.0


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 12)), max_size=100), st.integers(1, 20))
def test_it_holds_what_a_bucket_would_hold(asked: list[tuple[float, int]], limit: int) -> None:
    bucket, level, now = TokenBucket(WINDOW_S), float(limit), 1000.0
    for pause, amount in asked:
        now += pause
        level = min(limit, level + pause * limit / WINDOW_S)
        if abs(level - amount) < 1e-6:
            continue  # what rounding makes of it is nobody's matter
        fits = bucket.wait(now, amount, limit) == 0
        assert fits == (amount <= level)
        if fits:
            bucket.take(now, amount, limit)
            level -= amount
        assert bucket.read(now, limit).remaining == pytest.approx(level, abs=1.001)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 12)), max_size=100), st.integers(1, 20))
def test_in_any_time_no_more_is_taken_than_the_burst_and_what_flows_in(
    asked: list[tuple[float, int]], limit: int
) -> None:
    bucket, taken, now = TokenBucket(WINDOW_S), list[tuple[float, int]](), 1000.0
    for pause, amount in asked:
        now += pause
        if not bucket.wait(now, amount, limit):
            bucket.take(now, amount, limit)
            taken.append((now, amount))
    for index, (begin, _) in enumerate(taken):
        total = 0
        for at, amount in taken[index:]:
            total += amount
            assert total <= limit * (1 + (at - begin) / WINDOW_S) + 1e-6


@given(st.integers(1, 20), st.integers(1, 20))
def test_after_the_wait_there_is_enough(limit: int, amount: int) -> None:
    bucket = TokenBucket(WINDOW_S)
    bucket.take(1000.0, limit, limit)
    wait = bucket.wait(1000.0, amount, limit)
    if amount > limit:
        assert wait == NEVER
    else:
        assert wait == pytest.approx(amount * WINDOW_S / limit)
        assert bucket.wait(1000.0 + wait + 1e-6, amount, limit) == 0


def test_settling_puts_back_and_takes_what_is_not_there() -> None:
    bucket = TokenBucket(WINDOW_S)
    mark = bucket.take(0.0, 8, 10)
    bucket.settle(0.0, mark, 8, 3, 10)
    assert bucket.read(0.0, 10).remaining == 7
    bucket.settle(0.0, mark, 0, 20, 10)
    assert bucket.read(0.0, 10).remaining == 0
    assert bucket.wait(0.0, 1, 10) == pytest.approx(14.0)
    assert not bucket.is_idle(0.0)
    assert bucket.is_idle(23.001)
