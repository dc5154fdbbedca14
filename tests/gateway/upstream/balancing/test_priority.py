"""How requests are spread over the levels of a pool, beside the figures that Envoy publishes."""

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.balancing.hashing import stable_hash
from gateway.upstream.balancing.priority import LevelHealth, LevelLoad, PriorityChoice, level_loads
from tests.gateway.upstream.balancing.laws import chi_square_excess

LEVELS = st.lists(
    st.integers(1, 200).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))), min_size=1, max_size=6
).map(lambda levels: [LevelHealth(number, healthy, total) for number, (healthy, total) in enumerate(levels)])


def of_a_hundred(*healthy: int) -> list[LevelHealth]:
    return [LevelHealth(number, each, 100) for number, each in enumerate(healthy)]


def percents(levels: list[LevelHealth]) -> list[int]:
    return [load.percent for load in level_loads(levels)]


def in_panic(levels: list[LevelHealth], *, panic_threshold: float = 50) -> list[bool]:
    return [load.in_panic for load in level_loads(levels, panic_threshold=panic_threshold)]


# The tables of "Priority levels" and "Panic threshold" in Envoy's documentation. Two rows of theirs are rounded to
# the nearest; the figures here are those of its integer arithmetic, in which the first level gets the rest.
@pytest.mark.parametrize(
    ("healthy", "expected"),
    [
        ((100, 100), [100, 0]),
        ((72, 100), [100, 0]),
        ((71, 100), [99, 1]),
        ((50, 100), [70, 30]),
        ((25, 100), [35, 65]),
        ((0, 100), [0, 100]),
        ((72, 72), [100, 0]),
        ((71, 71), [99, 1]),
        ((50, 50), [70, 30]),
        ((50, 60), [70, 30]),
        ((25, 25), [50, 50]),
        ((5, 65), [8, 92]),
        ((100, 100, 100), [100, 0, 0]),
        ((72, 72, 100), [100, 0, 0]),
        ((71, 71, 100), [99, 1, 0]),
        ((50, 50, 100), [70, 30, 0]),
        ((25, 100, 100), [35, 65, 0]),
        ((25, 25, 100), [35, 35, 30]),
    ],
)
def test_loads_are_those_of_envoys_examples(healthy: tuple[int, ...], expected: list[int]) -> None:
    assert percents(of_a_hundred(*healthy)) == expected


def test_levels_that_can_take_less_than_all_take_it_in_proportion() -> None:
    """Capacities of 20 and 30 per cent are 40 and 60 of the requests. One level is above the panic threshold of 10."""
    levels = [LevelHealth(0, 1, 7), LevelHealth(1, 3, 14)]
    assert [load.percent for load in level_loads(levels, panic_threshold=10)] == [40, 60]


@pytest.mark.parametrize(
    ("healthy", "expected"),
    [
        ((72, 72), [False, False]),
        ((71, 71), [False, False]),
        ((50, 60), [False, False]),
        ((25, 100), [False, False]),
        ((0, 100), [False, False]),
        ((25, 25), [True, True]),
        ((5, 65), [True, False]),
        ((0, 0), [True, True]),
        ((49, 22), [True, True]),
        ((49, 23), [False, False]),
    ],
)
def test_panic_is_that_of_envoys_examples(healthy: tuple[int, ...], expected: list[bool]) -> None:
    assert in_panic(of_a_hundred(*healthy)) == expected


@pytest.mark.parametrize(("healthy", "panics"), [(49, True), (50, False)])
def test_panic_begins_below_the_threshold(healthy: int, panics: bool) -> None:
    assert in_panic(of_a_hundred(healthy)) == [panics]
    assert in_panic(of_a_hundred(healthy), panic_threshold=49) == [False]
    assert in_panic(of_a_hundred(healthy), panic_threshold=51) == [True]


def test_a_threshold_of_nothing_turns_panic_off() -> None:
    assert in_panic(of_a_hundred(0, 0), panic_threshold=0) == [False, False]
    assert in_panic(of_a_hundred(1, 1), panic_threshold=0) == [False, False]


@pytest.mark.parametrize(("healthy", "other_healthy"), [(0, 0), (1, 5)])
def test_where_all_levels_are_in_panic_their_size_counts(healthy: int, other_healthy: int) -> None:
    levels = [LevelHealth(0, healthy, 5), LevelHealth(1, other_healthy, 15)]
    assert level_loads(levels) == [LevelLoad(0, 25, True), LevelLoad(1, 75, True)]


def test_of_sizes_that_do_not_divide_a_hundred_the_first_level_has_the_rest() -> None:
    assert percents([LevelHealth(number, 0, 1) for number in range(3)]) == [34, 33, 33]


@pytest.mark.parametrize(
    ("factor", "healthy", "expected"),
    [(1.0, 99, 99), (1.4, 71, 99), (2.0, 50, 100), (2.0, 49, 98), (1.15, 20, 23), (2.3, 10, 23), (100, 1, 100)],
)
def test_the_factor_is_what_healthy_members_can_take_beyond_their_part(
    factor: float, healthy: int, expected: int
) -> None:
    loads = level_loads(of_a_hundred(healthy, 100), overprovisioning_factor=factor)
    assert [load.percent for load in loads] == [expected, 100 - expected]


def test_lower_numbers_are_preferred_in_whatever_order_levels_are_given() -> None:
    levels = [LevelHealth(7, 100, 100), LevelHealth(3, 50, 100)]
    assert level_loads(levels) == [LevelLoad(3, 70, False), LevelLoad(7, 30, False)]


@given(LEVELS, st.floats(1, 100), st.floats(0, 100))
@settings(max_examples=50, deadline=None)
def test_loads_add_up_to_a_hundred(levels: list[LevelHealth], factor: float, threshold: float) -> None:
    loads = level_loads(levels, overprovisioning_factor=factor, panic_threshold=threshold)
    assert sum(load.percent for load in loads) == 100
    assert all(load.percent >= 0 for load in loads)
    assert [load.number for load in loads] == [level.number for level in levels]


@given(LEVELS)
@settings(max_examples=50, deadline=None)
def test_a_level_takes_something_only_when_those_before_it_cannot_take_all(levels: list[LevelHealth]) -> None:
    left = 100
    for level, load in zip(levels, level_loads(levels), strict=True):
        if left <= 0:
            assert load.percent == 0
        left -= min(100, 140 * level.healthy // level.total)


@given(LEVELS)
@settings(max_examples=50, deadline=None)
def test_while_all_requests_can_be_taken_nobody_is_in_panic(levels: list[LevelHealth]) -> None:
    capacity = sum(min(100, 140 * level.healthy // level.total) for level in levels)
    loads = level_loads(levels)
    if capacity >= 100:
        assert not any(load.in_panic for load in loads)
        assert all(level.healthy for level, load in zip(levels, loads, strict=True) if load.percent)
    else:
        assert [load.in_panic for load in loads] == [2 * level.healthy < level.total for level in levels]


# The choice of each request's level.

LOADS = [LevelLoad(0, 70, False), LevelLoad(3, 0, False), LevelLoad(5, 29, False), LevelLoad(9, 1, False)]
LAW = {0: 70, 5: 29, 9: 1}


def choice_of(loads: list[LevelLoad]) -> PriorityChoice:
    choice = PriorityChoice(Random(17))
    choice.update(loads)
    return choice


def test_levels_are_chosen_by_their_loads() -> None:
    choice = choice_of(LOADS)
    assert chi_square_excess(Counter(choice.choose(None) for _ in range(100_000)), LAW) < 1


def test_a_key_has_its_level_and_keys_are_spread_by_the_loads() -> None:
    choice, other = choice_of(LOADS), PriorityChoice(Random(18))
    other.update(LOADS)
    keys = [stable_hash(f"{number}".encode()) for number in range(50_000)]
    chosen = [choice.choose(key) for key in keys]
    assert [other.choose(key) for key in keys] == chosen
    assert chi_square_excess(Counter(chosen), LAW) < 1


@pytest.mark.parametrize("place", [lambda key: key >> 61, lambda key: key % 16_381 % 8], ids=["ring", "table"])
def test_the_level_of_a_key_tells_nothing_of_its_place_within_the_level(place: Callable[[int], int]) -> None:
    """Otherwise some hosts of a level would get no keys at all."""
    choice = choice_of(LOADS)
    keys = [stable_hash(f"{number}".encode()) for number in range(50_000)]
    found = Counter(place(key) for key in keys if choice.choose(key) == 5)
    assert chi_square_excess(found, dict.fromkeys(range(8), 1)) < 1


@pytest.mark.parametrize("key", [None, 0, (1 << 64) - 1])
def test_one_level_that_takes_all_is_always_chosen(key: int | None) -> None:
    assert choice_of([LevelLoad(0, 0, False), LevelLoad(4, 100, False)]).choose(key) == 4
