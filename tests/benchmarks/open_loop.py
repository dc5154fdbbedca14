"""Load that does not wait: every request has a time at which it is due, whatever became of those before."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

Ask = Callable[[int], Awaitable[str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request. Times in seconds: when it was due by the event loop's clock, how late it was sent, and how long it
    took from when it was due to its end. `fault` is None if it was answered well."""

    due: float
    late_s: float
    took_s: float
    fault: str | None


class OpenLoop:
    """Sends `rate` requests a second while `run` runs, numbered from 0, until `stop` is called."""

    def __init__(self, ask: Ask, rate: float) -> None:
        self._ask = ask
        self._rate = rate
        self._is_stopped = False
        self.sent: list[Sent] = []
        """Those that have ended, in the order of their ends."""

    async def run(self) -> Sequence[Sent]:
        """Returns once the last request has ended."""
        clock = asyncio.get_running_loop().time
        start = clock()
        number = 0
        async with asyncio.TaskGroup() as requests:
            while not self._is_stopped:
                due = start + number / self._rate
                await asyncio.sleep(due - clock())
                requests.create_task(self._send(number, due))
                number += 1
        return self.sent

    def stop(self) -> None:
        """Sends no more."""
        self._is_stopped = True

    async def _send(self, number: int, due: float) -> None:
        clock = asyncio.get_running_loop().time
        late_s = clock() - due
        fault = await self._ask(number)
        self.sent.append(Sent(due=due, late_s=late_s, took_s=clock() - due, fault=fault))


def percentile(values: Iterable[float], percent: float) -> float:
    """The least value that so many per cent of all are not above; there must be one."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
