"""Answers of routes with a cache, over either protocol: kept ones, those of calls in flight, and new ones. A new one is
made by a task of its own, which its caller joins like all others, so that who leaves disturbs nobody."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from gateway.coarse_timers import TimeLimit
from gateway.context import RequestContext
from gateway.edits import AnswerEdits, HeaderEdits, edited_mapping
from gateway.errors import GatewayError, TimeoutExceededError
from gateway.filters.cache import Wish
from gateway.listeners.errors import GRPC_STATUS, HTTP_STATUS
from gateway.listeners.semantic import SemanticSearch
from gateway.listeners.service import GatewayService
from gateway.pipeline import Inbound, Pipeline
from gateway.plan import RoutePlan
from gateway.response_cache.flight import Flight
from gateway.response_cache.recording import AnswerHead, AnswerReader, NearAnswer, ReplayedAnswer
from gateway.response_cache.request_key import Headers, headers_to_show, request_key, seen_headers
from gateway.response_cache.response_cache import Produce
from gateway.shared_store import StoreUnavailableError

A = TypeVar("A")


class KeptInbound(Inbound[A], Protocol):
    """A request whose answer may be kept."""

    def effective(self) -> bytes | None:
        """What is asked, without insignificant differences; None if that cannot be told."""


class CachedCall(Generic[A]):
    """A request of a route with a cache. `form` says how its answer is written, as far as the request decides on it
    beside what is asked of backends; `see` gives the headers that the answer depends on."""

    def __init__(
        self,
        service: GatewayService,
        pipeline: Pipeline,
        plan: RoutePlan,
        inbound: KeptInbound[A],
        *,
        form: str,
        see: Callable[[Headers], dict[bytes, bytes]] = seen_headers,
    ) -> None:
        assert plan.cache is not None, "the route has a cache"
        self._service = service
        self._pipeline = pipeline
        self._plan = plan
        self._cache = plan.cache
        self._inbound = inbound
        self._form = form
        self._see = see
        self._header_edits: HeaderEdits | None = None
        self._shape: list[bytes] | None = None
        self._is_store_down = False

    async def forward(self, context: RequestContext) -> A:
        """Calls a backend, for a request that its limits have counted. Raises as `Pipeline.call`."""
        context.header_edits = self._header_edits
        if (filters := self._plan.filters_for(context.consumer)).answer_editors:
            filters.edit_answer(context)
        return await self._pipeline.forward(context, self._plan, self._inbound)

    def retell(self, context: RequestContext, result: str) -> None:
        """Tells the caller that it is otherwise than it was told: its answer comes from a call of its own."""
        context.answer_edits = None
        context.retell_cache(result)

    async def answer(self, context: RequestContext, produce: Produce) -> AnswerReader | None:
        """A kept answer, or a place among those who share a call, which must be entered at once; `produce` calls a
        backend and writes what it answers.

        None: the cache has no part in it; the request, which is counted by its limits, is to go its ordinary way.
        Raises `RateLimitedError`, and what policies refuse; reading raises what the call fails with.
        """
        await self._pipeline.reserve(context, self._plan, self._inbound)
        filters = self._plan.filters_for(context.consumer)
        if filters.request_editors:
            self._inbound = await filters.edit_request(context, self._inbound)
            self._header_edits = context.header_edits
        wish = self._cache.wish(context)
        seen = self._see(context.headers)
        key: str | None = None
        if wish is not None:
            effective, self._shape = self._inbound.effective(), self._cache.shape(context, filters)
            if effective is not None and self._shape is not None:
                key = self._key(context, effective, seen, self._shape)
        if wish is None or key is None:
            context.tell_cache("bypass")
            return None
        if wish.reads and (kept := await self._find(key, context, seen, produce, wish.max_age_s)) is not None:
            return kept
        # What a call finds by meaning may be older than who says `max-age` wants.
        joins = self._cache.config.single_flight and wish.reads
        joins = joins and (self._plan.embedder is None or wish.max_age_s is None)
        flight = self._cache.answers.flight(key) if joins else None
        if flight is None:
            context.tell_cache("miss" if wish.reads and not self._is_store_down else "bypass")
            flight = self._start(key, context, seen, self._first_found(produce, seen, wish))
        else:
            context.tell_cache("coalesced")
        context.priced, context.cost_usd = None, 0.0
        return SharedAnswer(flight, context)

    def _first_found(self, produce: Produce, seen: Headers, wish: Wish) -> Produce:
        """Has an answer to what means the same looked for, before a backend is called."""
        embedder, config = self._plan.embedder, self._cache.config
        if embedder is None or config.semantic is None:
            return produce
        semantic = SemanticSearch(self._service, self._pipeline, self._cache.answers, embedder, config, config.semantic)

        async def find_or_produce(flight: Flight) -> None:
            question = semantic.question(self._inbound)
            if question is not None:
                shape = [*(self._shape or ()), embedder.version]
                partition = self._key(flight.context, question.rest, seen, shape)
                found = await semantic.find(
                    flight, question.words, partition, max_age_s=wish.max_age_s, reads=wish.reads
                )
                if found is not None:
                    await _give_again(flight, found)
                    return
            await produce(flight)

        return find_or_produce

    def _key(self, context: RequestContext, effective: bytes, seen: Headers, shape: Sequence[bytes]) -> str:
        """The same for requests of the same callers that are answered in the same way and ask the same."""
        return request_key(
            context,
            scope=self._cache.scope(context),
            version=self._cache.version(context),
            form=self._form,
            effective=effective,
            seen=edited_mapping(self._header_edits, seen),
            shape=shape,
        )

    async def _find(
        self, key: str, context: RequestContext, seen: Headers, produce: Produce, max_age_s: float | None
    ) -> ReplayedAnswer | None:
        """The kept answer if it is young enough. One that is past its time is asked for anew meanwhile."""
        answers = self._cache.answers
        try:
            kept = await answers.find(key, is_shared=self._cache.config.is_shared)
        except StoreUnavailableError:
            self._is_store_down = True
            return None
        if kept is None:
            return None
        recording, age_s = kept
        if max_age_s is not None and age_s > max_age_s:
            return None
        terms = recording.head.terms
        fresh_s = self._cache.config.ttl_s if terms is None else terms.fresh_s
        if age_s >= fresh_s and answers.flight(key) is None:
            anew = self._first_found(produce, seen, Wish(reads=False))
            self._start(key, context, seen, lambda flight: self._refresh(flight, anew), is_accounted=True)
        context.tell_cache("hit")
        context.answer_headers.append((b"age", b"%d" % age_s))
        _take_edits(recording.head.edits, context)
        context.priced, context.cost_usd = None, 0.0
        context.first_content_at = time.perf_counter()
        return ReplayedAnswer(recording)

    def _start(
        self, key: str, context: RequestContext, seen: Headers, produce: Produce, *, is_accounted: bool = False
    ) -> Flight:
        of_call = context.of_shared_call(headers_to_show(seen, context.headers))
        config = self._cache.config
        keep_s = config.ttl_s + config.stale_s
        return self._cache.answers.start(
            key,
            of_call,
            produce,
            keep_bytes=config.max_entry_bytes,
            keep_s=keep_s,
            is_shared=config.is_shared,
            is_accounted=is_accounted,
        )

    async def _refresh(self, flight: Flight, produce: Produce) -> None:
        """A request of its own, which nobody waits for, but all count."""
        context = flight.context
        context.started = time.perf_counter()
        context.cache = "refresh"
        error: GatewayError | None = None
        try:
            await self._pipeline.reserve(context, self._plan, self._inbound)
            await produce(flight)
        except GatewayError as failure:
            error = failure
            raise
        finally:
            self._service.settle(context, _status(context, error), error.reason if error else "")


class SharedAnswer:
    """The answer of a call, for one of those who share it. The first learns what there is to know about the call.

    As a block it ends with the caller's time limit; the call goes on for as long as anybody is in theirs.
    """

    __slots__ = ("_context", "_flight", "_limit", "_reader", "read")

    def __init__(self, flight: Flight, context: RequestContext) -> None:
        self._flight = flight
        self._context = context
        self._reader = flight.join()
        self._limit = None if context.deadline is None else TimeLimit(context.deadline)
        self.read = self._reader.read

    async def __aenter__(self) -> Self:
        if self._limit is not None:
            self._limit.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._limit is not None:
                self._limit.__exit__(kind, error, trace)
        except TimeoutError:
            raise TimeoutExceededError("the request's time limit passed", reason="DEADLINE_EXCEEDED") from None
        finally:
            if await self._flight.leave(self._reader) and self._flight.given_again is None:
                _charge(self._context, self._flight.context)

    async def read_head(self) -> AnswerHead:
        """The head, once it is there. Raises what the call failed with."""
        context = self._context
        waiting_since = time.perf_counter()
        try:
            head = await self._reader.read_head()
        finally:
            context.upstream_seconds += time.perf_counter() - waiting_since
            _take_edits(self._flight.header_edits, context)
        context.first_content_at = time.perf_counter()
        if (found := self._flight.given_again) is not None:
            context.retell_cache("hit")
            context.answer_headers.append((b"age", b"%d" % found.kept.age_s))
            context.answer_headers.append((b"x-janua-cache-similarity", b"%.4f" % found.similarity))
            return head
        if not self._flight.is_oldest(self._reader):
            return head.kept()
        _take_over(self._flight.context, context)
        context.sticky_cookie = self._flight.context.sticky_cookie
        context.answer_headers += self._flight.context.answer_headers
        return head


async def _give_again(flight: Flight, found: NearAnswer) -> None:
    """Writes a kept answer to those who wait for a call, in the pieces that it was sent in."""
    flight.given_again = found
    recording = found.kept.recording
    _take_edits(recording.head.edits, flight.context)
    if recording.head.is_whole:
        flight.write_whole(recording.head, b"".join(recording.pieces))
        return
    flight.begin(recording.head)
    for piece in recording.pieces:
        await flight.write(piece)


def _take_over(call: RequestContext, context: RequestContext) -> None:
    """Notes in a caller's context who was called."""
    context.service, context.endpoint, context.attempts = call.service, call.endpoint, call.attempts
    context.upstream_seconds = call.upstream_seconds


def _take_edits(edits: HeaderEdits | None, context: RequestContext) -> None:
    """Has a caller's answer changed as that of the call. Of its body that has been done."""
    context.answer_edits = None if edits is None else AnswerEdits(headers=edits)


def _charge(context: RequestContext, call: RequestContext) -> None:
    """Has a caller account for the call."""
    _take_over(call, context)
    context.usage, context.priced, context.cost_usd = call.usage, call.priced, None
    context.reservations += call.reservations


def _status(context: RequestContext, error: GatewayError | None) -> str:
    if context.protocol == "grpc":
        return GRPC_STATUS[error.code].name if error else "OK"
    return str(HTTP_STATUS[error.code]) if error else "200"
