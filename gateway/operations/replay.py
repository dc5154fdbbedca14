"""The messages of a request that come one after another, kept for another attempt as long as they are few."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

from gateway.schemas.multipart_form import Splice

MAX_KEPT_BYTES = 64 * 1024


class OutgoingBody(Protocol):
    """A body as a backend is to get it."""

    @property
    def is_replayable(self) -> bool:
        """Whether another attempt can have all that has been read."""

    @property
    def is_complete(self) -> bool:
        """Whether all of it has been read."""

    @property
    def whole(self) -> bytes | None:
        """All of it together, once it is known and if it is kept in one piece or is small."""

    def parts(self) -> AsyncGenerator[bytes, None]:
        """All parts from the first on. Raises what reading them raises."""


class ReplayableParts:
    """Parts of a body, or messages of a call: read from the client when an attempt wants them, and kept up to a bound.

    `read` gives the next part, or None after the last; it is never called twice at a time. The newest part is kept
    whatever its size, so that a single message can always be sent again; once it and those before it are over the bound
    together, the older ones are forgotten.
    """

    def __init__(self, read: Callable[[], Awaitable[bytes | None]], *, max_kept_bytes: int = MAX_KEPT_BYTES) -> None:
        self._read = read
        self._max_kept_bytes = max_kept_bytes
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._forgotten = 0
        self._reading = asyncio.Lock()
        self.is_complete = False

    @property
    def is_replayable(self) -> bool:
        """Whether another attempt can have all that has been read."""
        return self._forgotten == 0

    @property
    def whole(self) -> bytes | None:
        """All parts together, once they are known and if they are kept. Many large ones are not copied into one."""
        if not self.is_complete or not self.is_replayable:
            return None
        return b"".join(self._kept) if self._kept_bytes <= MAX_KEPT_BYTES or len(self._kept) == 1 else None

    async def read_first(self) -> None:
        """Reads the first part, or learns that there is none."""
        if not self._kept and not self.is_complete:
            await self._read_part()

    async def read_until(self, is_enough: Callable[[], bool]) -> None:
        """Reads parts until that holds, or all. They are kept whatever their size: whoever reads sets the limit."""
        while not self.is_complete and not is_enough():
            await self._read_part(keeps=True)

    async def read_all(self) -> None:
        """Reads all parts. Only for what is known to be within the bound."""
        while not self.is_complete:
            await self._read_part()

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """All parts from the first on. Raises what `read` raises."""
        position = 0
        while True:
            async with self._reading:
                if position == self._forgotten + len(self._kept) and not self.is_complete:
                    await self._read_part()
            if position == self._forgotten + len(self._kept):
                return
            assert position >= self._forgotten, "an attempt must not begin when parts have been forgotten"
            yield self._kept[position - self._forgotten]
            position += 1

    async def _read_part(self, *, keeps: bool = False) -> None:
        part = await self._read()
        if part is None:
            self.is_complete = True
            return
        self._kept.append(part)
        self._kept_bytes += len(part)
        if keeps:
            self._max_kept_bytes = max(self._max_kept_bytes, self._kept_bytes)
        if self._kept_bytes > self._max_kept_bytes:
            # The newest stays until the next comes, for the attempt that is waiting for it.
            self._forgotten += len(self._kept) - 1
            del self._kept[:-1]
            self._kept_bytes = len(part)


class WholeBody:
    """A body that is there."""

    is_replayable = True
    is_complete = True

    def __init__(self, data: bytes) -> None:
        self.whole: bytes | None = data

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """All of it in one part."""
        yield self.whole or b""


class SplicedParts:
    """The same parts with other bytes in one place."""

    def __init__(self, body: ReplayableParts, splice: Splice) -> None:
        self._body = body
        self._splice = splice

    @property
    def is_replayable(self) -> bool:
        """Whether another attempt can have all that has been read."""
        return self._body.is_replayable

    @property
    def is_complete(self) -> bool:
        """Whether all of it has been read."""
        return self._body.is_complete

    @property
    def whole(self) -> bytes | None:
        """See `OutgoingBody`."""
        whole = self._body.whole
        return None if whole is None else whole[: self._splice.start] + self._splice.new + whole[self._splice.end :]

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """All parts from the first on; the new bytes are one of their own."""
        start, end = self._splice.start, self._splice.end
        is_put = False
        position = 0
        async with aclosing(self._body.parts()) as parts:
            async for part in parts:
                if before := part[: max(0, start - position)]:
                    yield before
                if not is_put and position + len(part) >= start:
                    is_put = True
                    yield self._splice.new
                if after := part[max(0, end - position) :]:
                    yield after
                position += len(part)
