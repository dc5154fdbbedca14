"""Whether what something costs grows with its size, and no faster.

Measured is the processor time of this thread: neither other processes nor other threads of this one are in it. What the
machine does beside still makes it longer now and then, and never shorter, so the least of several runs counts.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_NOTHING_S: Final = 0.002
"""Too short to be compared."""
_RUNS: Final = 3
_TRIES: Final = 10


def assert_linear(small: Callable[[], object], large: Callable[[], object], *, most: float) -> None:
    """`large` may take `most` times as long as `small`, of which it does several times as much. One that does is run
    again, so that only what never comes below that fails."""
    with _no_garbage_collection():
        base = min(_seconds(small) for _ in range(_RUNS))
        taken = math.inf
        for _ in range(_TRIES):
            taken = min(taken, _seconds(large))
            if taken < max(_NOTHING_S, most * base):
                return
    raise AssertionError(f"{taken:.4f} s, {taken / base:.0f} times the {base:.4f} s of the small one")


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Its share grows with what else is in memory."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _seconds(action: Callable[[], object]) -> float:
    start = time.thread_time()
    action()
    return time.thread_time() - start
