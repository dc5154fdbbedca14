"""Which core a process runs on: what is measured has one to itself, everything else the other. Where the system cannot
pin processes, they run where it likes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def leave_a_core() -> int | None:
    """Moves this process, and all that it will start, to one core, and returns another for what is measured."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-1:])
    return cores[0]


@contextmanager
def starting_on(core: int | None) -> Iterator[None]:
    """Processes started within the block run on that core, with all their threads; this one too until its end."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
