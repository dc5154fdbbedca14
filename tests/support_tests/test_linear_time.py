"""What grows with the square is told from what grows evenly."""

from functools import partial

import pytest

from tests.support.linear_time import assert_linear


def squared(size: int) -> int:
    return sum(sum(range(each)) for each in range(size))


def even(size: int) -> int:
    return sum(range(size * 1000))


def test_what_grows_evenly_passes() -> None:
    assert_linear(partial(even, 100), partial(even, 800), most=24)


def test_what_grows_with_the_square_fails() -> None:
    with pytest.raises(AssertionError, match="times the"):
        assert_linear(partial(squared, 100), partial(squared, 800), most=24)
