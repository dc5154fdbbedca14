"""The answers that a node keeps, and the calls whose answers may be kept while they run."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import structlog

from gateway.context import RequestContext
from gateway.errors import GatewayError, InternalError, UnavailableError
from gateway.response_cache.flight import Flight
from gateway.response_cache.recording import KeptAnswer, NearAnswer, Recording
from gateway.response_cache.request_key import ALL_KEYS, KeyPattern
from gateway.response_cache.vectors import Vector, nearest
from gateway.shared_store import SharedStore, StoreUnavailableError

if TYPE_CHECKING:
    from gateway.response_cache.memory_store import MemoryStore
    from gateway.response_cache.shared_answers import SharedAnswers

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
_MAX_ENTRIES = 1_000_000

# Makes a call: writes its answer to the flight, whose context is that of the call. Raises what it fails with.
Produce = Callable[[Flight], Awaitable[None]]

_log = structlog.get_logger("janua.cache")


class ResponseCache:
    """All answers of a node: those in its memory, and those in the store that it shares with others, if it has one.

    Keys are made by `request_key`. `run` must be running while calls are made; what it has begun ends with it.
    """

    def __init__(
        self,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        max_entries: int = _MAX_ENTRIES,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        shared: SharedStore | None = None,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._shared_store = shared
        self._shared: SharedAnswers | None = None
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._memory: MemoryStore | None = None
        self._flights: dict[str, Flight] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Recording)

    @property
    def size_bytes(self) -> int:
        """What the kept answers take."""
        return 0 if self._memory is None else self._memory.size_bytes

    @property
    def entries(self) -> int:
        """How many answers are kept."""
        return 0 if self._memory is None else len(self._memory)

    async def run(self) -> None:
        """Makes calls until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    self._tasks = None
        finally:
            for flight in self._flights.values():  # they had not even begun
                flight.end(_stopping())
            if self._shared_store is not None:
                await self._shared_store.close()

    async def find(self, key: str, *, is_shared: bool = False) -> KeptAnswer | None:
        """The answer that is kept under that key. Raises `StoreUnavailableError` while the shared store does not
        answer."""
        data = await self._shared_answers().get(key) if is_shared else self._own().find(key)
        if data is None:
            return None
        try:
            recording = self._decoder.decode(data)
        except msgspec.MsgspecError:
            return None  # in a store of many, it may be anybody's
        # Clocks of nodes differ.
        return KeptAnswer(recording, max(0.0, self._now(is_shared) - recording.kept_at))

    async def find_near(
        self, partition: str, vector: Vector, *, threshold: float, max_age_s: float, keep_s: float
    ) -> NearAnswer | None:
        """The answer in the node's memory that is nearest to the vector, of those in the partition no older than that,
        all of which are kept for `keep_s`."""
        if self._memory is None:
            return None
        places = self._memory.places(partition, ends_after=self._clock() + keep_s - max_age_s)
        near = await nearest(places, vector, threshold)
        kept = None if near is None else await self.find(near.key)
        return None if near is None or kept is None else NearAnswer(kept, near.similarity)

    def flight(self, key: str) -> Flight | None:
        """The call whose answer will be kept under that key, if there is one that can be joined."""
        flight = self._flights.get(key)
        return flight if flight is not None and flight.is_joinable else None

    def start(
        self,
        key: str,
        context: RequestContext,
        produce: Produce,
        *,
        keep_bytes: int,
        keep_s: float,
        is_shared: bool = False,
        is_accounted: bool = False,
    ) -> Flight:
        """Makes a call whose answer is kept for so long if it is no larger. `is_accounted` is as `Flight` has it.

        Raises `UnavailableError` when the node is about to end.
        """
        if self._tasks is None:
            raise _stopping()
        flight = Flight(context, keep_bytes=keep_bytes, is_accounted=is_accounted)
        self._flights[key] = flight
        self._tasks.create_task(self._fly(key, flight, produce, keep_s, is_shared))
        return flight

    async def purge(self, wanted: KeyPattern = ALL_KEYS) -> int:
        """Forgets answers, also those that are being made here. The number of those kept. Raises
        `StoreUnavailableError` when it could not be done in the shared store."""
        self._flights = {key: flight for key, flight in self._flights.items() if not wanted.matches(key)}
        purged = 0 if self._memory is None else self._memory.clear_matching(wanted.matches)
        if self._shared_store is not None:
            purged += await self._shared_answers().clear_matching(wanted.glob)
        return purged

    def _now(self, is_shared: bool) -> float:
        return self._wall_clock() if is_shared else self._clock()

    def _own(self) -> "MemoryStore":
        if self._memory is None:
            # A node whose routes keep nothing need not know the library.
            from gateway.response_cache.memory_store import MemoryStore

            self._memory = MemoryStore(max_bytes=self._max_bytes, max_entries=self._max_entries, clock=self._clock)
        return self._memory

    def _shared_answers(self) -> "SharedAnswers":
        assert self._shared_store is not None, "the policy is in use"
        if self._shared is None:
            from gateway.response_cache.shared_answers import SharedAnswers

            self._shared = SharedAnswers(self._shared_store)
        return self._shared

    async def _fly(self, key: str, flight: Flight, produce: Produce, keep_s: float, is_shared: bool) -> None:
        failure: GatewayError | None = None
        try:
            if flight.is_given_up:
                return
            task = asyncio.current_task()
            assert task is not None, "calls are made by tasks"
            flight.cancel = task.cancel
            await produce(flight)
            # Nobody waits for its keeping: in memory it is kept before any of them runs, and who comes meanwhile joins.
            flight.end()
            await self._keep(key, flight, keep_s, is_shared)
        except GatewayError as error:
            failure = error
        except Exception:
            request_id = flight.context.request_id
            _log.exception("request failed", request_id=request_id)
            failure = InternalError(f"an internal error happened; the log has it under request id {request_id}")
        finally:
            if not flight.is_over:
                flight.end(failure or _stopping())
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _keep(self, key: str, flight: Flight, keep_s: float, is_shared: bool) -> None:
        if flight.given_again is not None:
            return  # it is kept, and would never be too old
        pieces = flight.pieces()
        if flight.head is not None and (terms := flight.head.terms) is not None:
            keep_s = terms.keep_s
            if not terms.is_shared:
                return
        if flight.head is None or not 200 <= flight.head.status < 300:
            return
        # Another may have taken its place, or somebody wanted the answers before to be forgotten.
        if pieces is None or self._flights.get(key) is not flight:
            return
        recording = Recording(flight.head.kept(), pieces, self._now(is_shared))
        packed = bytearray()
        self._encoder.encode_into(recording, packed)
        # Of the size that it has: one that has grown and was cut leaves holes in memory, a third of the whole.
        data = bytes(packed)
        if not is_shared:
            self._own().keep(key, data, keep_s, flight.place)
            return
        with suppress(StoreUnavailableError):  # it has been logged and counted
            await self._shared_answers().set(key, data, ttl=keep_s)


def _stopping() -> UnavailableError:
    return UnavailableError("this node is about to stop", reason="STOPPING", retry_after_s=1.0)
