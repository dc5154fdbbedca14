"""When a system leaves an endpoint out, and when it uses it again, as its admin listener shows it."""

import asyncio
from contextlib import suppress

from tests.benchmarks.systems import System
from tests.support.polling import eventually

_POLL_S = 0.02


class Watch:
    """Looks again and again while `run` runs. Times are the event loop's; each is that of the look that showed it."""

    def __init__(self, system: System, address: str) -> None:
        self._system = system
        self._address = address
        self._ended = asyncio.Event()
        self.changes: list[float] = []
        """The first is when the endpoint was left out, the second when it was used again, and so on."""

    @property
    def is_out(self) -> bool:
        """Whether it is left out."""
        return len(self.changes) % 2 == 1

    async def run(self) -> None:
        """Returns after `stop`."""
        while not self._ended.is_set():
            is_out = self._address in await self._system.left_out()
            if is_out != self.is_out:
                self.changes.append(_now())
            await asyncio.sleep(_POLL_S)

    def stop(self) -> None:
        """Looks no more."""
        self._ended.set()

    async def until_calm(self, calm_s: float, *, most_s: float) -> None:
        """Waits until the endpoint has been in use for so long; gives up after `most_s`."""
        began = _now()

        async def is_calm() -> bool:
            return not self.is_out and _now() - max([began, *self.changes]) >= calm_s

        with suppress(TimeoutError):
            await eventually(is_calm, timeout_s=most_s)


def _now() -> float:
    return asyncio.get_running_loop().time()
