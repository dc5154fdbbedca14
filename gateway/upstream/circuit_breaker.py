"""Bounds of what is in flight to an upstream: requests, those that wait for their turn, and retries. Pure, but for the
futures that waiters wait for."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from gateway.config.upstream import BreakerConfig, RetryBudgetConfig

_DEFAULT_BUDGET = RetryBudgetConfig(budget_percent=100.0, min_retry_concurrency=10)

_RETRY_AFTER_S = 1.0


class BreakerBound(Enum):
    """Which bound refused a request."""

    REQUESTS = "requests"
    """All places are taken, and nobody may wait."""
    PENDING = "pending"
    """As many wait as may."""
    QUEUE_TIMEOUT = "queue_timeout"
    """No place became free in time."""


class BreakerOpenError(Exception):
    """A request must not be made now. `retry_after_s` says when another try makes sense."""

    def __init__(self, message: str, *, bound: BreakerBound, retry_after_s: float = _RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.bound = bound
        self.retry_after_s = retry_after_s


class CircuitBreaker:
    """Admits requests: at once while few are in flight, else after a bounded wait in a bounded queue, first come first
    served.

    Somebody waits only while all places are taken: whatever frees a place or adds one hands it on before it returns.

    Retries are counted apart, from the decision to try again to the end of the request. Where the configuration has
    neither `max_retries` nor `retry_budget`, they may be as many as the requests in flight, and always 10: at worst,
    retries double the load. The budget is Envoy's, the larger of the share and the least number; requests that wait
    between two attempts are in flight too, for a pool that fails many at once fails them all at once.
    """

    def __init__(self, config: BreakerConfig) -> None:
        """Every request takes up a connection, as far as `max_connections` is concerned."""
        self._config = config
        self._limit = _limit(config)
        # The waiters in their order. What a future brings is whether its waiter has got a place.
        self._waiting: OrderedDict[asyncio.Future[bool], None] = OrderedDict()
        self._backing_off = 0
        self.active = 0
        self.retries = 0

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.active} of {self._limit} active, {self.pending} pending, {self.retries} retries>"

    @property
    def pending(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether another request would have to wait, or be refused."""
        return self.active >= self._limit

    @property
    def refuses(self) -> bool:
        """Whether another request would be refused at once."""
        return self.is_full and self.pending >= self._config.max_pending_requests

    @property
    def allows_retry(self) -> bool:
        """Whether one more retry would be admitted."""
        return self.retries < self._most_retries()

    def reconfigure(self, config: BreakerConfig) -> None:
        """Takes other bounds. What is in flight stays; who waits comes in as far as there is room now."""
        self._config = config
        self._limit = _limit(config)
        self._admit_waiting()

    def try_acquire(self) -> bool:
        """Takes a place if there is one."""
        if self.active >= self._limit:
            return False
        self.active += 1
        return True

    async def acquire(self) -> None:
        """Takes a place, after a wait if need be. Raises `BreakerOpenError` when too many wait, or for too long."""
        if self.try_acquire():
            return
        self._check_room_to_wait()
        timeout_s = self._config.queue_timeout_s
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiting[waiter] = None
        timer = loop.call_later(timeout_s, self._give_up, waiter)
        try:
            has_place = await waiter
        except asyncio.CancelledError:
            # The place may have come in the very moment of the cancellation.
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self.release()
            raise
        finally:
            timer.cancel()
            self._waiting.pop(waiter, None)
        if not has_place:
            message = f"no place became free within {timeout_s:g} s"
            raise BreakerOpenError(message, bound=BreakerBound.QUEUE_TIMEOUT)

    def release(self) -> None:
        """Gives a place back, or to the first who waits."""
        self.active -= 1
        if self._waiting:
            self._admit_waiting()

    def try_start_retry(self) -> bool:
        """Takes one of the retries that may be in flight."""
        if not self.allows_retry:
            return False
        self.retries += 1
        return True

    @contextmanager
    def backing_off(self) -> Iterator[None]:
        """Counts a request as in flight while it waits for its next attempt."""
        self._backing_off += 1
        try:
            yield
        finally:
            self._backing_off -= 1

    def end_retry(self) -> None:
        """Gives it back."""
        self.retries -= 1

    def _check_room_to_wait(self) -> None:
        if self.pending < self._config.max_pending_requests:
            return
        if self._config.max_pending_requests == 0:
            raise BreakerOpenError(f"{self.active} in flight are the most allowed", bound=BreakerBound.REQUESTS)
        message = f"{self.active} in flight and {self.pending} waiting are the most allowed"
        raise BreakerOpenError(message, bound=BreakerBound.PENDING)

    def _give_up(self, waiter: asyncio.Future[bool]) -> None:
        if not waiter.done():
            self._waiting.pop(waiter, None)
            waiter.set_result(False)

    def _admit_waiting(self) -> None:
        while self._waiting and self.active < self._limit:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():  # else cancelled, and not yet told
                self.active += 1
                waiter.set_result(True)

    def _most_retries(self) -> int:
        config = self._config
        if config.retry_budget is None and config.max_retries is not None:
            return config.max_retries
        budget = config.retry_budget or _DEFAULT_BUDGET
        # One more: who asks is between two attempts.
        in_flight = self.active + self.pending + self._backing_off + 1
        return max(budget.min_retry_concurrency, int(budget.budget_percent * in_flight / 100))


def _limit(config: BreakerConfig) -> float:
    """The most requests in flight."""
    bounds = [bound for bound in (config.max_requests, config.max_connections) if bound is not None]
    return min(bounds, default=float("inf"))
