"""All writes to the configuration, one after the other: each is planned on what the one before has made."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog
from google.rpc import code_pb2

from config_server.errors import ApiError
from config_server.revision_signal import RevisionSignal
from config_server.snapshot_cache import CacheUpdate, SnapshotCache
from config_server.store.base import Commit, Store

T = TypeVar("T")

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

# Writes that wait for their turn. Beyond that a caller is told to come back.
_MAX_WAITING: Final = 256


@dataclass(frozen=True, slots=True)
class _Turn:
    write: Callable[[], Awaitable[Any]]
    answer: asyncio.Future[Any]


class Writer:
    """Gives one write at a time its turn: while it lasts nothing else moves the cache on.

    A write whose turn has come is carried through even if its caller goes away: it must not be committed and then
    forgotten by the cache.
    """

    def __init__(self, *, store: Store, cache: SnapshotCache, signal: RevisionSignal) -> None:
        self._store = store
        self._cache = cache
        self._signal = signal
        self._turns: asyncio.Queue[_Turn] = asyncio.Queue(_MAX_WAITING)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            turn = await self._turns.get()
            if turn.answer.cancelled():
                continue
            try:
                result = await turn.write()
            except Exception as error:  # belongs to the caller, who has it raised in `in_turn`
                if not turn.answer.cancelled():
                    turn.answer.set_exception(error)
            else:
                if not turn.answer.cancelled():
                    turn.answer.set_result(result)

    async def in_turn(self, write: Callable[[], Awaitable[T]]) -> T:
        """Waits for a turn and makes `write` in it, which plans on the cache as it is then and calls `commit`.

        Raises what `write` raises, and ApiError if too many wait already.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            self._turns.put_nowait(_Turn(write, answer))
        except asyncio.QueueFull:
            text = f"{_MAX_WAITING} writes are waiting already: try again"
            raise ApiError(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_WRITES", text) from None
        return await answer

    async def commit(self, commit: Commit, update: CacheUpdate) -> None:
        """Makes a revision: in the store, then in the cache (`update` is what `commit` does to it), then all are told.

        Only within a turn. Raises StoreUnavailableError if the store fails; nothing is changed then.
        """
        await self._store.commit(commit)
        self._cache.apply(update)
        self._signal.announce(commit.revision)
        _log.info("applied", revision=commit.revision, changes=len(commit.changes), author=commit.author)
