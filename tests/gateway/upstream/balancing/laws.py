"""How near counts are to the law they should follow."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

# One sample in a million of those that follow the law lies beyond. Draws are from fixed seeds, so a test that passes
# does so always; a wrong law is off by a thousand times the bound when counts are in the ten thousands.
_DEVIATIONS = 4.75


def chi_square_excess(found: Mapping[T, int], law: Mapping[T, float]) -> float:
    """The chi-square of counts beside a law, in terms of its bound: above 1 they do not follow it.

    The law is given in any unit; what it does not name must not have been found.
    """
    assert found.keys() <= law.keys()
    total = sum(found.values())
    unit = total / sum(law.values())
    statistic = sum((found.get(each, 0) - share * unit) ** 2 / (share * unit) for each, share in law.items())
    return statistic / _bound(len(law) - 1)


def spread(values: Iterable[int]) -> float:
    """The same for numbers that should be everywhere below 256 alike."""
    return chi_square_excess(Counter(values), dict.fromkeys(range(256), 1.0))


def _bound(degrees: int) -> float:
    """The quantile of chi-square by the approximation of Wilson and Hilferty."""
    part = 2 / (9 * degrees)
    return degrees * (1 - part + _DEVIATIONS * math.sqrt(part)) ** 3
