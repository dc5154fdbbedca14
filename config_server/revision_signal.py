"""Tells those who wait that there is a new revision."""

import asyncio


class SignalClosedError(Exception):
    """The server is going down: there will be no more revisions to wait for."""


class RevisionSignal:
    """The current revision, and a way to wait for the next. Any number of tasks may wait."""

    def __init__(self, revision: int) -> None:
        self._revision = revision
        self._is_closed = False
        self._changed = asyncio.Event()

    @property
    def revision(self) -> int:
        return self._revision

    def announce(self, revision: int) -> None:
        self._revision = revision
        self._wake()

    def close(self) -> None:
        """Ends all waiting with `SignalClosedError`."""
        self._is_closed = True
        self._wake()

    async def beyond(self, revision: int) -> int:
        """Waits for a revision greater than `revision` and returns the current one. Raises SignalClosedError."""
        while self._revision <= revision and not self._is_closed:
            await self._changed.wait()
        if self._is_closed:
            raise SignalClosedError
        return self._revision

    def _wake(self) -> None:
        # A new event for those who will wait next: the old one stays set for those it is waking.
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()
