"""The range that pauses are drawn from."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.back_off import CEILING_S, FLOOR_S, BackOff


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_every_pause_is_between_floor_and_ceiling(draws: list[float]) -> None:
    turns = iter(draws)
    back_off = BackOff(lambda: next(turns))
    assert all(FLOOR_S <= back_off.next_s() <= CEILING_S for _ in draws)


def test_the_range_doubles_up_to_the_ceiling() -> None:
    back_off = BackOff(lambda: 1.0)
    pauses = [back_off.next_s() for _ in range(12)]
    assert pauses[:3] == [0.02, 0.04, 0.08]
    assert pauses[-1] == CEILING_S


def test_jitter_spreads_over_the_whole_range() -> None:
    draws = iter([0.0, 0.5, 1.0])
    back_off = BackOff(lambda: next(draws))
    assert [round(back_off.next_s(), 4) for _ in range(3)] == [0.01, 0.025, 0.08]


def test_reset_begins_anew() -> None:
    back_off = BackOff(lambda: 1.0)
    first = back_off.next_s()
    back_off.next_s()
    back_off.reset()
    assert back_off.next_s() == first


def test_the_slow_pause_is_long_at_once_and_does_not_lengthen_the_others() -> None:
    back_off = BackOff(lambda: 0.0)
    assert back_off.slow_s() == CEILING_S / 2
    assert BackOff(lambda: 1.0).slow_s() == CEILING_S
    assert back_off.next_s() == FLOOR_S
