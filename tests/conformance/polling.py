"""Waiting for what can be observed but does not announce itself, such as a gauge of another process."""

import asyncio
from collections.abc import Awaitable, Callable

_PAUSE_S = 0.01
_STILL_LOOKS = 30


async def eventually(holds: Callable[[], Awaitable[bool]], what: str, *, within_s: float = 10.0) -> None:
    """Returns once `holds` gives True. Fails, saying `what`, if it has not in time."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                if await holds():
                    return
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None


async def until_still(value: Callable[[], int], what: str) -> None:
    """Returns once a count is above its first value and then has not grown for longer than a moment."""
    first = seen = value()
    looks = 0

    async def is_still() -> bool:
        nonlocal seen, looks
        looks = looks + 1 if value() == seen else 0
        seen = value()
        return seen > first and looks > _STILL_LOOKS

    await eventually(is_still, what)
