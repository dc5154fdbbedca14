"""How much memory a node takes while something passes through it."""

import asyncio

from tests.conformance.gateway import Gateway


class Watched:
    """The node's memory, looked at again and again."""

    def __init__(self, gateway: Gateway) -> None:
        self._process = gateway.process
        self._before = self._process.resident_bytes
        self.growth = 0

    async def __aenter__(self) -> "Watched":
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _watch(self) -> None:
        while True:
            self.growth = max(self.growth, self._process.resident_bytes - self._before)
            await asyncio.sleep(0.02)
