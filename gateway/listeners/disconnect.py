"""Noticing that an HTTP client has gone away while its request is being handled."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Self, TypeAlias

from gateway.coarse_timers import CoarseTimer, coarse_timers

Scope: TypeAlias = MutableMapping[str, Any]
AsgiMessage: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[AsgiMessage]]
Send: TypeAlias = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


_GRACE_S = 0.2


class ClientGoneError(Exception):
    """The client closed its connection; nobody waits for an answer."""


class CancelOnDisconnect:
    """Within this block the current task is cancelled when the client goes away, and the block then raises
    `ClientGoneError`. So whatever runs there, an upstream call above all, ends at once.

    Watching begins a moment late: it needs a task of its own, which costs more than an answer that fast is worth. With
    `after`, it waits for that too: until a body has been read, those who read it learn whether its client has left.
    """

    def __init__(self, receive: Receive, *, after: asyncio.Event | None = None) -> None:
        self._receive = receive
        self._after = after
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._timer: CoarseTimer | None = None
        self._is_gone = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        self._timer = coarse_timers(loop).call_at(loop.time() + _GRACE_S, self._start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._is_gone and self._task is not None:
            # Somebody else may want the task to end as well.
            is_ours_alone = self._task.uncancel() == 0
            if is_ours_alone and kind in (None, asyncio.CancelledError):
                raise ClientGoneError from None

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        if self._after is not None:
            await self._after.wait()
        while True:
            message = await self._receive()
            if message["type"] in ("http.disconnect", "websocket.disconnect"):
                self._is_gone = True
                if self._task is not None:
                    self._task.cancel()
                return
