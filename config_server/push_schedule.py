"""When changes are pushed: shortly after they come, so that a burst of them goes out as one."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from config_server.revision_signal import RevisionSignal, SignalClosedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """A push waits until nothing has changed for `quiet_s`, but no longer than `longest_s`."""

    quiet_s: float = 0.010
    longest_s: float = 1.0


class PushSchedule:
    """Calls `push` for every revision, or once for several that come close together."""

    def __init__(
        self,
        signal: RevisionSignal,
        push: Callable[[], None],
        *,
        debounce: Debounce,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._signal: Final = signal
        self._push: Final = push
        self._debounce: Final = debounce
        self._clock: Final = clock
        self._sleep: Final = sleep

    async def run(self) -> None:
        """Until cancelled, or until the signal is closed."""
        pushed = self._signal.revision
        while True:
            try:
                await self._signal.beyond(pushed)
            except SignalClosedError:
                return
            await self._settle()
            pushed = self._signal.revision
            self._push()

    async def _settle(self) -> None:
        deadline = self._clock() + self._debounce.longest_s
        seen = None
        while seen != self._signal.revision and self._clock() < deadline:
            seen = self._signal.revision
            await self._sleep(min(self._debounce.quiet_s, deadline - self._clock()))
