"""Hypercorn's watch over connections that nobody uses, mended so that it costs busy ones nothing.

It is in use only where `mend_idle_watch` has been called.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from hypercorn.asyncio import tcp_server

from gateway.coarse_timers import CoarseTimer, coarse_timers

_GRACE_S = 0.2


class LateTask:
    """Runs one action at a time, a moment after it was asked to.

    Hypercorn starts the watch after each answer and cancels it with the next request, which is two tasks and a timer a
    request. A connection that is used again within the moment has none of them.
    """

    def __init__(self) -> None:
        self._timer: CoarseTimer | None = None
        self._task: asyncio.Task[None] | None = None

    async def restart(self, task_group: object, action: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Has the action run, in place of the one before. In no group: who waits for that waits for no watch."""
        await self.stop()
        loop = asyncio.get_running_loop()
        self._timer = coarse_timers(loop).call_at(loop.time() + _GRACE_S, partial(self._start, action))

    async def stop(self) -> None:
        """Cancels the action."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _start(self, action: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(action())


def mend_idle_watch() -> None:
    """Has every connection of this process use it: Hypercorn takes no other by configuration."""
    setattr(tcp_server, "AsyncioSingleTask", LateTask)  # noqa: B010  # type checkers take classes for constants
