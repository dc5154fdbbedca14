"""Bounds of what is in flight to an upstream: requests, those that wait for their turn, and retries."""

import asyncio
from collections import deque

from gateway.config.upstream import BreakerConfig, RetryBudgetConfig

# Without a bound of the configuration retries may at most double what is in flight.
_DEFAULT_BUDGET = RetryBudgetConfig(budget_percent=100.0, min_retry_concurrency=10)


class BreakerOpenError(Exception):
    """A request must not be made now. `retry_after_s` says when another try makes sense."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class CircuitBreaker:
    """Admits requests: at once while few are in flight, else after a bounded wait in a bounded queue, first come first
    served."""

    def __init__(self, config: BreakerConfig) -> None:
        self._config = config
        self.active = 0
        self.retries = 0
        self._limit = _limit(config)
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def pending(self) -> int:
        """Requests that wait."""
        return sum(not waiter.done() for waiter in self._waiting)

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
        config = self._config
        if config.retry_budget is None and config.max_retries is not None:
            return self.retries < config.max_retries
        budget = config.retry_budget or _DEFAULT_BUDGET
        share = budget.budget_percent / 100 * (self.active + self.pending)
        return self.retries < max(budget.min_retry_concurrency, share)

    def reconfigure(self, config: BreakerConfig) -> None:
        """Takes other bounds. What is in flight stays; who waits comes in as far as there is room now."""
        self._config = config
        self._limit = _limit(config)
        self._admit_waiting()

    def try_acquire(self) -> bool:
        """Takes a place if there is one and nobody waits for it."""
        if self.active >= self._limit or self._waiting:
            return False
        self.active += 1
        return True

    async def acquire(self) -> None:
        """Takes a place, after a wait if need be. Raises `BreakerOpenError` when too many wait, or for too long."""
        if self.try_acquire():
            return
        config = self._config
        if self.pending >= config.max_pending_requests:
            raise BreakerOpenError(
                f"{self.active} in flight and {self.pending} waiting are the most allowed", retry_after_s=1.0
            )
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(config.queue_timeout_s):
                await waiter
        except TimeoutError:
            self._give_up(waiter)
            text = f"no place became free within {config.queue_timeout_s:g} s"
            raise BreakerOpenError(text, retry_after_s=1.0) from None
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise

    def _give_up(self, waiter: "asyncio.Future[None]") -> None:
        """Leaves the queue. A place that was given in the very same moment goes to the next."""
        if waiter.done() and not waiter.cancelled():
            self.release()
        else:
            waiter.cancel()
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def release(self) -> None:
        """Gives a place back."""
        self.active -= 1
        if self._waiting:
            self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._waiting and self.active < self._limit:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self.active += 1
                waiter.set_result(None)

    def try_start_retry(self) -> bool:
        """Takes one of the retries that may be in flight."""
        if not self.allows_retry:
            return False
        self.retries += 1
        return True

    def end_retry(self) -> None:
        """Gives it back."""
        self.retries -= 1


def _limit(config: BreakerConfig) -> float:
    """The most requests in flight. With one request per connection a bound of connections is one of requests."""
    bounds = [bound for bound in (config.max_requests, config.max_connections) if bound is not None]
    return min(bounds, default=float("inf"))
