"""Data as reads bring it: cut anywhere. And what it costs to take it piece by piece, in bytes, not in time."""

import tracemalloc
from collections.abc import Callable, Iterable
from itertools import pairwise


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data cut at these places; those beyond its end cut nothing. At least one piece."""
    borders = [0, *sorted({min(place, len(data)) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


def single_bytes(data: bytes) -> list[bytes]:
    """The data byte by byte."""
    return [data[place : place + 1] for place in range(len(data))]


def bytes_allocated(take: Callable[[bytes], object], pieces: Iterable[bytes]) -> int:
    """How much memory `take` asks for in all, given one piece after another: a measure of what it copies."""
    allocated = 0
    tracemalloc.start()
    try:
        for piece in pieces:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            take(piece)
            allocated += tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return allocated
