"""Copies of requests to services that are being tried out: nobody waits for them, and there are never many."""

import asyncio
from collections.abc import Coroutine

import structlog

from gateway.errors import GatewayError
from gateway.upstream.retry import AttemptFailedError

_MAX_IN_FLIGHT = 64

_log = structlog.get_logger("janua.mirror")


class Mirrors:
    """Makes the copies of all routes. `run` must be running; what it has begun ends with it."""

    def __init__(self, max_in_flight: int = _MAX_IN_FLIGHT) -> None:
        self._max_in_flight = max_in_flight
        self._tasks: asyncio.TaskGroup | None = None
        self._requests: dict[str, int] = {}
        self.in_flight = 0

    async def run(self) -> None:
        """Makes copies until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._tasks = None

    def takes(self, route: str, percent: float) -> bool:
        """Whether the next request of a route is to be copied: exactly that share of them, spread evenly. Where too
        many copies are in flight a request is passed over."""
        before = self._requests.get(route, 0)
        self._requests[route] = before + 1
        is_due = int((before + 1) * percent / 100) > int(before * percent / 100)
        return is_due and self._tasks is not None and self.in_flight < self._max_in_flight

    def start(self, copy: Coroutine[None, None, None]) -> None:
        """Makes a copy. What goes wrong with it is lost with its answer."""
        if self._tasks is None:
            copy.close()
            return
        self.in_flight += 1
        self._tasks.create_task(_make(copy)).add_done_callback(lambda _: self._ended(copy))

    def _ended(self, copy: Coroutine[None, None, None]) -> None:
        self.in_flight -= 1
        copy.close()  # it has not even begun if it was cancelled at once


async def _make(copy: Coroutine[None, None, None]) -> None:
    try:
        await copy
    except (GatewayError, AttemptFailedError):
        pass  # the metrics of upstream attempts count it
    except Exception:
        # A fault of our own must not end all other copies, and the node with them.
        _log.exception("copy of a request failed")
