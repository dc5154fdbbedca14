"""Waiting for what can be observed but does not announce itself, such as a gauge of another process."""

import asyncio
from collections.abc import Awaitable, Callable

_PAUSE_S = 0.01


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
