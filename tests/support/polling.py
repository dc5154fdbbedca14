"""Waiting for what another process does, where nothing tells us that it has."""

import asyncio
from collections.abc import Awaitable, Callable

_INTERVAL_S = 0.02


async def eventually(condition: Callable[[], Awaitable[bool]], *, timeout_s: float = 20.0) -> None:
    """Returns once the condition holds; raises TimeoutError if it does not in time."""
    async with asyncio.timeout(timeout_s):
        while True:
            if await condition():
                return
            await asyncio.sleep(_INTERVAL_S)
