"""All writes to the configuration, one after the other: each is planned on what the one before has made."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import structlog
from google.rpc import code_pb2

from config_server.catch_up import update_of, update_to
from config_server.errors import ApiError
from config_server.revision_signal import RevisionSignal
from config_server.snapshot_cache import CacheUpdate, SnapshotCache
from config_server.store.base import Commit, Position, RevisionCompactedError, RevisionConflictError, Store

T = TypeVar("T")

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger(__name__)

# Writes that wait for their turn. Beyond that a caller is told to come back.
_MAX_WAITING: Final = 256
# How often a write is planned anew because another server has jumped the line.
_MAX_ATTEMPTS: Final = 10


class HistoryLostError(Exception):
    """The store has gone back, or is another one: what this server has told is no longer so, and it must begin anew."""


@dataclass(frozen=True, slots=True)
class _Turn:
    write: Callable[[], Awaitable[Any]] | None
    """None: only what others have committed is taken in."""

    answer: asyncio.Future[Any]


class Writer:
    """Gives one write at a time its turn: while it lasts nothing else moves the cache on.

    A write whose turn has come is carried through even if its caller goes away: it must not be committed and then
    forgotten by the cache. Where other servers write too, a turn begins when this one is at the head of their line, and
    with catching up; one whose commit comes too late all the same is made again.
    """

    def __init__(self, *, store: Store, cache: SnapshotCache, signal: RevisionSignal) -> None:
        self._store = store
        self._cache = cache
        self._signal = signal
        self._turns: asyncio.Queue[_Turn] = asyncio.Queue(_MAX_WAITING)
        # When the cache's revision was made, if that is known: another time is another revision of the same number.
        self._time: datetime | None = None

    def is_at(self, position: Position) -> bool:
        """Whether the cache is where the store is."""
        return position == Position(self._cache.epoch, self._cache.revision, self._time)

    async def run(self) -> None:
        """Until cancelled. Raises HistoryLostError."""
        while True:
            turn = await self._turns.get()
            if turn.answer.cancelled():
                continue
            try:
                result = await self._carry_through(turn)
            except Exception as error:  # belongs to the caller, who has it raised in `in_turn`
                if not turn.answer.cancelled():
                    turn.answer.set_exception(error)
                if isinstance(error, HistoryLostError):
                    raise
            else:
                if not turn.answer.cancelled():
                    turn.answer.set_result(result)

    async def in_turn(self, write: Callable[[], Awaitable[T]]) -> T:
        """Waits for a turn and makes `write` in it, which plans on the cache as it is then and calls `commit`.

        It is made again if another server has been faster. Raises what `write` raises, StoreUnavailableError, and
        ApiError if too many wait already.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._enqueue(_Turn(write, answer))
        return await answer

    async def catch_up(self) -> None:
        """Waits for a turn and takes in what other servers have committed. Raises as `in_turn`."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._enqueue(_Turn(None, answer))
        await answer

    def _enqueue(self, turn: _Turn) -> None:
        try:
            self._turns.put_nowait(turn)
        except asyncio.QueueFull:
            text = f"{_MAX_WAITING} writes are waiting already: try again"
            raise ApiError(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_WRITES", text) from None

    async def commit(self, commit: Commit, update: CacheUpdate) -> None:
        """Makes a revision: in the store, then in the cache (`update` is what `commit` does to it), then all are told.

        Only within a turn. Raises StoreUnavailableError if the store fails; nothing is changed then, or if that is not
        known, its subclass OutcomeUnknownError.
        """
        await self._store.commit(commit)
        self._move_on(update)
        self._time = commit.time
        _log.info("applied", revision=commit.revision, changes=len(commit.changes), author=commit.author)

    def _move_on(self, update: CacheUpdate) -> None:
        self._cache.apply(update)
        self._signal.announce(update.revision)

    async def _carry_through(self, turn: _Turn) -> Any:
        peers = self._store.peers
        if turn.write is None or peers is None:
            await self._catch_up()
            return None if turn.write is None else await turn.write()
        for _ in range(_MAX_ATTEMPTS):
            async with peers.line():
                await self._catch_up()
                with suppress(RevisionConflictError):
                    return await turn.write()
        text = "other servers write faster than this one: try again"
        raise ApiError(code_pb2.ABORTED, "TOO_MANY_CONFLICTS", text)

    async def _catch_up(self) -> None:
        """Takes in what other servers have committed."""
        if self._store.peers is None:
            return
        before = self._cache.revision
        position, time = await self._store.peers.position(before)
        is_same = time is not None if self._time is None else time == self._time
        if position.epoch != self._cache.epoch or position.revision < before or (before and not is_same):
            raise HistoryLostError(f"the store was at revision {before} and is at another {position.revision}")
        while self._cache.revision < position.revision:
            self._move_on(await self._next_update())
        self._time = position.time if self._cache.revision == position.revision else None

    async def _next_update(self) -> CacheUpdate:
        revision = self._cache.revision + 1
        try:
            changes = await self._store.changes_of(revision)
        except RevisionCompactedError:
            world = await self._store.load()
            return await asyncio.to_thread(update_to, world.revision, world.entries, self._cache)
        if not changes:
            raise HistoryLostError(f"the store has lost revision {revision}")
        return await asyncio.to_thread(update_of, revision, changes)
