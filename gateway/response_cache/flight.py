"""One call that several callers share while it runs: whoever comes later gets what has come before and then the rest
as it comes; whoever leaves disturbs nobody. Without I/O: who makes the call runs elsewhere.

    the call  ── begin(head), write(piece) … end(failure) ──►  Flight  ── read_head(), read() … ──►  a FlightReader each

What has been written is kept whole up to `keep_bytes`, to be joined and kept. Beyond that only what somebody has still
to read is held: the call waits for the fastest reader, and readers that fall far behind it are cut off.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from gateway.context import RequestContext
from gateway.edits import HeaderEdits
from gateway.errors import GatewayError, UnavailableError
from gateway.response_cache.recording import AnswerHead, NearAnswer
from gateway.response_cache.vectors import Place

_WINDOW_BYTES = 256 * 1024


def _nothing() -> None:
    """There is no call that could be ended."""


class Flight:
    """A call. `context` is that of the call; `cancel` ends it, for which nobody must wait. Until the call has begun it
    does nothing: who makes the call looks first whether it `is_given_up`. `is_accounted`: somebody else accounts for
    it, and wants it whether anybody reads or not. `place` is where its answer is to be found, beside its key;
    `given_again` the answer that was found at such a place, so that there was nobody to call."""

    def __init__(
        self,
        context: RequestContext,
        *,
        keep_bytes: int,
        cancel: Callable[[], object] = _nothing,
        is_accounted: bool = False,
        window_bytes: int = _WINDOW_BYTES,
    ) -> None:
        self.context = context
        self.head: AnswerHead | None = None
        self.failure: GatewayError | None = None
        self.is_over = False
        self.place: Place | None = None
        self.given_again: NearAnswer | None = None
        self._ended: asyncio.Future[None] | None = None  # who has left last waits for it
        self.cancel = cancel
        self._keep_bytes = keep_bytes
        self._window_bytes = window_bytes
        self._is_kept = True
        self._is_cancelled = False
        self._is_accounted = is_accounted
        self._pieces: deque[bytes] = deque()
        self._written_bytes = 0
        self._dropped = 0  # pieces that are no longer held
        self._readers: dict[FlightReader, None] = {}
        self._room: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Flight of {len(self._readers)}, {self._written_bytes} bytes, {'over' if self.is_over else 'running'}>"

    @property
    def is_joinable(self) -> bool:
        """Whether who comes now can still get all of it."""
        return self._is_kept and not self._is_cancelled and self.failure is None

    @property
    def is_given_up(self) -> bool:
        """Whether all have left who wanted it."""
        return self._is_cancelled

    @property
    def header_edits(self) -> HeaderEdits | None:
        """What policies have to be done to the headers of the answer; None: nothing."""
        edits = self.context.answer_edits
        return None if edits is None or edits.headers.is_empty else edits.headers

    @property
    def held_bytes(self) -> int:
        """What is in memory of what has been written."""
        return sum(map(len, self._pieces))

    def pieces(self) -> tuple[bytes, ...] | None:
        """All that has been written; None if it is not to be kept."""
        return tuple(self._pieces) if self._is_kept else None

    def join(self) -> "FlightReader":
        """One more reader, who must leave in the end."""
        reader = FlightReader(self)
        self._readers[reader] = None
        return reader

    def begin(self, head: AnswerHead) -> None:
        """Says how the answer begins."""
        self.head = head
        self._wake_readers()

    def write_whole(self, head: AnswerHead, body: bytes) -> None:
        """The answer, all of it at once."""
        self.head = head
        self._append(body)

    async def write(self, piece: bytes) -> None:
        """The next piece. Returns once there is room for another."""
        self._append(piece)
        while self._readers and self._written_bytes - self._furthest() > self._window_bytes:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def end(self, failure: GatewayError | None = None) -> None:
        """Says that nothing more comes, and what went wrong if something did."""
        self.failure = failure
        self.is_over = True
        self.cancel = _nothing  # that of a task, which holds on to all that the call has to do with
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        self._wake_readers()

    async def leave(self, reader: "FlightReader") -> bool:
        """One reader less. The last to leave before the end ends the call, and waits until it has ended.

        Whether this one has to account for the call. Exactly one does: who has waited longest of those that have not
        left before the end.
        """
        is_oldest = next(iter(self._readers), None) is reader
        del self._readers[reader]
        if not self._readers and not self.is_over and not self._is_accounted:
            self._is_cancelled = True
            self._ended = asyncio.get_running_loop().create_future()
            self.cancel()
            await self._ended
        elif not self.is_over:
            self._note_progress()
            return False
        pays = is_oldest and not self._is_accounted
        self._is_accounted = self._is_accounted or pays
        return pays

    def is_oldest(self, reader: "FlightReader") -> bool:
        """Whether that reader has waited longest of all that are there."""
        return next(iter(self._readers), None) is reader

    def read(self, number: int) -> bytes | None:
        """A piece, if it has been written."""
        index = number - self._dropped
        return self._pieces[index] if index < len(self._pieces) else None

    def note_progress(self) -> None:
        """To be called when a reader has read on."""
        if self._room is not None or not self._is_kept:
            self._note_progress()

    def _note_progress(self) -> None:
        if not self._is_kept:
            self._drop_what_is_read()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _append(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._written_bytes += len(piece)
        if self._written_bytes > self._keep_bytes:
            self._is_kept = False
            self._cut_off_slow_readers()
            self._drop_what_is_read()
        self._wake_readers()

    def _furthest(self) -> int:
        return max(reader.read_bytes for reader in self._readers)

    def _cut_off_slow_readers(self) -> None:
        """Those that lag twice as far as the call runs ahead of the fastest, which itself is never one of them."""
        if self.head is None or self.head.is_whole or len(self._readers) < 2:
            return
        furthest = self._furthest()
        for reader in self._readers:
            lag = self._written_bytes - reader.read_bytes
            if lag > 2 * self._window_bytes and furthest > reader.read_bytes:
                reader.cut_off()

    def _drop_what_is_read(self) -> None:
        following = [reader.next_number for reader in self._readers if not reader.is_cut_off]
        needed = min(following, default=self._dropped + len(self._pieces))
        while self._dropped < needed and self._pieces:
            self._pieces.popleft()
            self._dropped += 1

    def _wake_readers(self) -> None:
        for reader in self._readers:
            reader.wake()


class FlightReader:
    """One caller's place in the answer of a flight."""

    __slots__ = ("_flight", "_waiting", "is_cut_off", "next_number", "read_bytes")

    def __init__(self, flight: Flight) -> None:
        self.next_number = 0
        self.read_bytes = 0
        self.is_cut_off = False
        self._flight = flight
        self._waiting: asyncio.Future[None] | None = None

    async def read_head(self) -> AnswerHead:
        """The head, once it is there. Raises what the call failed with."""
        flight = self._flight
        while flight.head is None:
            self._check()
            await self._wait()
        return flight.head

    async def read(self) -> bytes | None:
        """The next piece, or None after the last. Raises what the call failed with, after all that came before."""
        flight = self._flight
        while True:
            if self.is_cut_off:
                raise UnavailableError("others read this answer much faster", reason="READ_TOO_SLOWLY")
            piece = flight.read(self.next_number)
            if piece is not None:
                self.next_number += 1
                self.read_bytes += len(piece)
                flight.note_progress()
                return piece
            self._check()
            if flight.is_over:
                return None
            await self._wait()

    def cut_off(self) -> None:
        """Gives up on a reader that is too slow."""
        self.is_cut_off = True
        self.wake()

    def wake(self) -> None:
        """There is something new."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _check(self) -> None:
        if self._flight.failure is not None:
            raise self._flight.failure.with_traceback(None)

    async def _wait(self) -> None:
        # Each has a future of its own: cancelling who waits for one cancels that.
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting
