"""How near texts are to each other, as vectors of length one have it. Without I/O."""

import asyncio
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

Vector: TypeAlias = tuple[float, ...]

# A quarter to half a millisecond of comparing, in which the node serves nobody.
_NUMBERS_AT_ONCE = 32_768

# Of a number, which is an object of its own, and its place.
_NUMBER_BYTES = 40


class Place(NamedTuple):
    """Where an answer can be found: among those of a partition, of which `room` can, by its vector."""

    partition: str
    vector: Vector
    room: int

    @property
    def size_bytes(self) -> int:
        """What it takes of memory."""
        return _NUMBER_BYTES * len(self.vector)


class Near(NamedTuple):
    """What has been found, and the cosine of the angle between the two vectors."""

    key: str
    similarity: float


def unit_vector(numbers: Sequence[float]) -> Vector | None:
    """The vector of length one in the same direction. None if there is none: nothing but zeros, or not all numbers are
    finite."""
    length = math.hypot(*numbers)
    if not 0.0 < length < math.inf:
        return None
    return tuple(number / length for number in numbers)


async def nearest(places: Sequence[tuple[str, Vector]], vector: Vector, threshold: float) -> Near | None:
    """The nearest of vectors of the same length, if the cosine is at least `threshold`; of several the first. Vectors
    with more or fewer numbers are of another model. Lets others run in between."""
    found: str | None = None
    # Of vectors of length one, c² = 2 - 2 cos. This is the one sum of products over floats that Python has in C.
    reach = math.sqrt(2.0 * (1.0 - threshold))
    at_once = max(1, _NUMBERS_AT_ONCE // len(vector))
    for start in range(0, len(places), at_once):
        if start:
            await asyncio.sleep(0)
        for key, other in places[start : start + at_once]:
            if len(other) != len(vector):
                continue
            distance = math.dist(vector, other)
            if distance < reach or (found is None and distance == reach):
                found, reach = key, distance
    return None if found is None else Near(found, 1.0 - reach * reach / 2.0)
