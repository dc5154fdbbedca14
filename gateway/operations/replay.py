"""The messages of a request that come one after another, kept for another attempt as long as they are few."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

MAX_KEPT_BYTES = 64 * 1024


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
        """All parts together, once they are known and if they are kept."""
        return b"".join(self._kept) if self.is_complete and self.is_replayable else None

    async def read_first(self) -> None:
        """Reads the first part, or learns that there is none."""
        if not self._kept and not self.is_complete:
            await self._read_part()

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

    async def _read_part(self) -> None:
        part = await self._read()
        if part is None:
            self.is_complete = True
            return
        self._kept.append(part)
        self._kept_bytes += len(part)
        if self._kept_bytes > self._max_kept_bytes:
            # The newest stays until the next comes, for the attempt that is waiting for it.
            self._forgotten += len(self._kept) - 1
            del self._kept[:-1]
            self._kept_bytes = len(part)
