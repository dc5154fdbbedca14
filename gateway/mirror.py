"""Copies of requests to services that are being tried out: nobody waits for them, and there are never many."""

import asyncio
from collections.abc import Coroutine

from gateway.errors import GatewayError
from gateway.upstream.retry import AttemptFailedError

_MAX_IN_FLIGHT = 64


class Mirrors:
    """Makes the copies of all routes. `run` must be running; what it has begun ends with it."""

    def __init__(self, max_in_flight: int = _MAX_IN_FLIGHT) -> None:
        self._max_in_flight = max_in_flight
        self._tasks: asyncio.TaskGroup | None = None
        self._due: dict[str, float] = {}
        self.in_flight = 0

    async def run(self) -> None:
        """Makes copies until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await asyncio.get_running_loop().create_future()
        finally:
            self._tasks = None

    def takes(self, route: str, percent: float) -> bool:
        """Whether the next request of a route is to be copied: exactly that share of them, spread evenly. Where too
        many copies are in flight a request is passed over."""
        due = self._due.get(route, 0.0) + percent
        self._due[route] = due - 100 if due >= 100 else due
        return due >= 100 and self._tasks is not None and self.in_flight < self._max_in_flight

    def start(self, copy: Coroutine[None, None, None]) -> None:
        """Makes a copy. What goes wrong with it is lost with its answer."""
        if self._tasks is None:
            copy.close()
            return
        self.in_flight += 1
        self._tasks.create_task(self._make(copy))

    async def _make(self, copy: Coroutine[None, None, None]) -> None:
        try:
            await copy
        except (GatewayError, AttemptFailedError):
            pass  # the metrics of upstream attempts count it
        finally:
            self.in_flight -= 1
