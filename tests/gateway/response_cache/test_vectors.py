"""Vectors and the nearest of them, against the plain arithmetic."""

import asyncio
import math
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.response_cache.vectors import Vector, nearest, unit_vector

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda number: number if abs(number) > 1e-3 else 0.0)
VECTORS = st.integers(1, 5).flatmap(lambda size: st.lists(NUMBERS, min_size=size, max_size=size))


def cosine(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@given(numbers=VECTORS)
def test_unit_vector_has_the_direction_and_length_one(numbers: list[float]) -> None:
    unit = unit_vector(numbers)
    if not any(numbers):
        assert unit is None
        return
    assert unit is not None
    assert math.hypot(*unit) == pytest.approx(1)
    assert cosine(unit, tuple(numbers)) == pytest.approx(math.hypot(*numbers))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_direction(number: float) -> None:
    assert unit_vector([1.0, number]) is None
    assert unit_vector([]) is None


@given(vectors=st.lists(VECTORS, max_size=30), asked=VECTORS, threshold=st.floats(0.01, 1))
@example(vectors=[[1.0, 2.0], [2.0, 4.0]], asked=[1.0, 2.0], threshold=1.0)
async def test_nearest_is_the_true_nearest(vectors: list[list[float]], asked: list[float], threshold: float) -> None:
    vector = unit_vector(asked)
    places = [(str(number), unit) for number, each in enumerate(vectors) if (unit := unit_vector(each)) is not None]
    if vector is None:
        return
    found = await nearest(places, vector, threshold)
    near = {key: cosine(vector, other) for key, other in places if len(other) == len(vector)}
    best = max(near.values(), default=-1.0)
    if found is None:
        assert best < threshold + 1e-9
    else:
        assert near[found.key] == pytest.approx(best, abs=1e-9)
        assert found.similarity == pytest.approx(best, abs=1e-9)
        assert found.similarity >= threshold - 1e-9


async def test_the_same_vector_is_as_near_as_can_be_and_the_first_of_them_wins() -> None:
    vector = unit_vector([0.1, 0.2, 0.3])
    assert vector is not None
    found = await nearest([("a", vector), ("b", vector)], vector, 1.0)
    assert found is not None
    assert (found.key, found.similarity) == ("a", 1.0)


async def test_others_run_while_many_are_compared() -> None:
    """A thousand vectors of 1,536 numbers are some 15 ms of work; nobody waits for that."""
    vector = unit_vector([1.0] * 1536)
    assert vector is not None
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    started = time.perf_counter()
    await nearest([(str(number), vector) for number in range(1000)], vector, 0.5)
    seconds = time.perf_counter() - started
    counting.cancel()
    assert turns >= 40, f"{turns} turns in {seconds:.3f} s"
