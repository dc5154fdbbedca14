"""Long work on the event loop in short turns, so that requests do not wait for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

_TURN_S: Final = 0.001


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items; after each millisecond of work on them everything else on the event loop has its turn."""
    end = time.perf_counter() + _TURN_S
    for item in items:
        yield item
        if time.perf_counter() >= end:
            await asyncio.sleep(0)
            end = time.perf_counter() + _TURN_S
