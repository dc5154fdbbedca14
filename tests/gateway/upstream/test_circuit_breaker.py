"""Who is admitted, who waits and who is refused: never more than the limit, and nobody waits while there is room."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.config.upstream import BreakerConfig, RetryBudgetConfig
from gateway.upstream.circuit_breaker import BreakerBound, BreakerOpenError, CircuitBreaker
from tests.gateway.upstream.calls import LoopClock, turns


def breaker_of(max_requests: int | None = 2, **config: Any) -> CircuitBreaker:
    return CircuitBreaker(BreakerConfig(max_requests=max_requests, **config))


def full(max_requests: int = 1, **config: Any) -> CircuitBreaker:
    """A breaker all of whose places are taken."""
    breaker = breaker_of(max_requests, **config)
    while breaker.try_acquire():
        pass
    return breaker


async def waiters(breaker: CircuitBreaker, count: int) -> list[asyncio.Task[None]]:
    """So many requests that wait for their turn, in this order."""
    tasks = [asyncio.create_task(breaker.acquire()) for _ in range(count)]
    await turns()
    return tasks


async def refusal(breaker: CircuitBreaker) -> BreakerOpenError:
    with pytest.raises(BreakerOpenError) as caught:
        await breaker.acquire()
    return caught.value


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# Bounds.


@pytest.mark.parametrize(
    ("max_requests", "max_connections", "limit"), [(3, None, 3), (None, 4, 4), (3, 5, 3), (5, 3, 3), (3, 3, 3)]
)
def test_the_tighter_bound_holds(max_requests: int | None, max_connections: int | None, limit: int) -> None:
    breaker = breaker_of(max_requests, max_connections=max_connections)
    assert [breaker.try_acquire() for _ in range(limit + 2)] == [True] * limit + [False] * 2
    assert (breaker.active, breaker.is_full) == (limit, True)


async def test_without_bounds_nobody_waits() -> None:
    breaker = breaker_of(None, max_pending_requests=0)
    for _ in range(5000):
        await breaker.acquire()
    assert (breaker.active, breaker.pending, breaker.is_full, breaker.refuses) == (5000, 0, False, False)


def test_a_place_that_was_given_back_can_be_taken_again() -> None:
    breaker = full(2)
    breaker.release()
    assert [breaker.try_acquire(), breaker.try_acquire()] == [True, False]


async def test_one_more_than_may_wait_is_refused_at_once() -> None:
    breaker = full(max_pending_requests=2)
    tasks = await waiters(breaker, 2)
    error = await refusal(breaker)
    assert (error.bound, error.retry_after_s) == (BreakerBound.PENDING, 1.0)
    assert str(error) == "1 in flight and 2 waiting are the most allowed"
    assert breaker.refuses
    await end(*tasks)
    assert not breaker.refuses


async def test_where_nobody_may_wait_the_bound_of_requests_refuses() -> None:
    breaker = full(2, max_pending_requests=0)
    error = await refusal(breaker)
    assert (error.bound, str(error)) == (BreakerBound.REQUESTS, "2 in flight are the most allowed")


def test_how_it_is_can_be_read() -> None:
    assert repr(full(2)) == "<CircuitBreaker 2 of 2 active, 0 pending, 0 retries>"


# The queue.


async def test_those_who_wait_are_admitted_in_their_order() -> None:
    breaker = full(2)
    tasks = await waiters(breaker, 4)
    for admitted in range(1, 5):
        breaker.release()
        await turns()
        assert [task.done() for task in tasks] == [True] * admitted + [False] * (4 - admitted)
        assert (breaker.active, breaker.pending) == (2, 4 - admitted)


async def test_a_place_goes_to_who_waits_and_not_to_who_comes_just_then() -> None:
    breaker = full()
    (task,) = await waiters(breaker, 1)
    breaker.release()
    assert not breaker.try_acquire()
    await turns()
    assert task.done()
    assert breaker.active == 1


async def test_who_waits_too_long_is_refused() -> None:
    clock = LoopClock()
    breaker = full(queue_timeout_s=5)
    (task,) = await waiters(breaker, 1)
    await clock.advance(4.9)
    assert not task.done()
    await clock.advance(0.2)
    with pytest.raises(BreakerOpenError, match=r"^no place became free within 5 s$") as caught:
        await task
    assert caught.value.bound is BreakerBound.QUEUE_TIMEOUT
    assert (breaker.active, breaker.pending) == (1, 0)


async def test_who_was_admitted_is_not_refused_later() -> None:
    clock = LoopClock()
    breaker = full(queue_timeout_s=5)
    (task,) = await waiters(breaker, 1)
    breaker.release()
    await clock.advance(10)
    await task
    assert breaker.active == 1


async def test_a_place_that_comes_in_the_moment_of_the_timeout_is_not_lost() -> None:
    clock = LoopClock()
    breaker = full(queue_timeout_s=5)
    tasks = await waiters(breaker, 1)
    asyncio.get_running_loop().call_later(5, breaker.release)
    await clock.advance(5.1)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert breaker.active == (0 if tasks[0].exception() else 1)
    assert breaker.pending == 0


async def test_who_leaves_the_queue_makes_room_in_it() -> None:
    breaker = full(max_pending_requests=2)
    first, second = await waiters(breaker, 2)
    await end(first)
    assert breaker.pending == 1
    (third,) = await waiters(breaker, 1)
    breaker.release()
    await turns()
    assert (second.done(), third.done()) == (True, False)
    await end(third)


async def test_a_place_that_comes_in_the_moment_of_a_cancellation_goes_to_the_next() -> None:
    breaker = full()
    first, second = await waiters(breaker, 2)
    breaker.release()
    first.cancel()
    await turns()
    assert first.cancelled()
    assert second.done()
    assert not second.cancelled()
    assert (breaker.active, breaker.pending) == (1, 0)


async def test_a_place_that_comes_in_the_moment_of_the_last_cancellation_is_free() -> None:
    breaker = full()
    (task,) = await waiters(breaker, 1)
    breaker.release()
    task.cancel()
    await turns()
    assert (breaker.active, breaker.pending) == (0, 0)


async def test_who_was_cancelled_but_not_yet_told_gets_no_place() -> None:
    breaker = full()
    first, second = await waiters(breaker, 2)
    first.cancel()
    breaker.release()
    await turns()
    assert first.cancelled()
    assert second.done()
    assert breaker.active == 1


async def test_a_time_limit_of_the_caller_ends_its_wait() -> None:
    clock = LoopClock()
    breaker = full(queue_timeout_s=100)

    async def impatient() -> None:
        async with asyncio.timeout(1):
            await breaker.acquire()

    task = asyncio.create_task(impatient())
    await turns()
    await clock.advance(2)
    with pytest.raises(TimeoutError):
        await task
    assert (breaker.active, breaker.pending) == (1, 0)


# Another configuration under load.


async def test_more_room_lets_in_who_waits() -> None:
    breaker = full(1)
    tasks = await waiters(breaker, 3)
    breaker.reconfigure(BreakerConfig(max_requests=3))
    await turns()
    assert [task.done() for task in tasks] == [True, True, False]
    assert (breaker.active, breaker.pending) == (3, 1)
    breaker.reconfigure(BreakerConfig())
    await turns()
    assert (breaker.active, breaker.pending) == (4, 0)


async def test_less_room_ends_nothing_and_admits_nobody_until_enough_have_ended() -> None:
    breaker = full(3)
    (task,) = await waiters(breaker, 1)
    breaker.reconfigure(BreakerConfig(max_requests=1))
    assert breaker.active == 3
    breaker.release()
    breaker.release()
    await turns()
    assert not task.done()
    breaker.release()
    await turns()
    assert task.done()
    assert breaker.active == 1


async def test_a_shorter_queue_keeps_who_waits_already() -> None:
    breaker = full(1)
    tasks = await waiters(breaker, 2)
    breaker.reconfigure(BreakerConfig(max_requests=1, max_pending_requests=1))
    assert breaker.pending == 2
    assert (await refusal(breaker)).bound is BreakerBound.PENDING
    breaker.release()
    await turns()
    assert tasks[0].done()
    await end(*tasks)


# Retries.


def retries(breaker: CircuitBreaker) -> int:
    """How many retries can be begun now."""
    count = 0
    while breaker.try_start_retry():
        count += 1
    return count


@pytest.mark.parametrize("most", [0, 1, 3])
def test_no_more_retries_than_max_retries(most: int) -> None:
    breaker = breaker_of(None, max_retries=most)
    for _ in range(100):
        breaker.try_acquire()
    assert retries(breaker) == most
    assert not breaker.allows_retry


def test_a_retry_that_has_ended_makes_room() -> None:
    breaker = breaker_of(None, max_retries=1)
    assert breaker.try_start_retry()
    assert not breaker.try_start_retry()
    breaker.end_retry()
    assert breaker.try_start_retry()
    assert breaker.retries == 1


@pytest.mark.parametrize(
    ("percent", "least", "others", "most"),
    [
        (20, 3, 0, 3),
        (20, 3, 18, 3),
        (20, 3, 19, 4),
        (20, 3, 99, 20),
        (0, 0, 99, 0),
        (100, 0, 0, 1),
        (100, 0, 6, 7),
        (29, 0, 99, 29),
        (12.5, 0, 7, 1),
        (12.5, 0, 14, 1),
    ],
)
def test_a_budget_is_the_larger_of_a_number_and_a_share_of_what_is_in_flight_who_asks_included(
    percent: float, least: int, others: int, most: int
) -> None:
    budget = RetryBudgetConfig(budget_percent=percent, min_retry_concurrency=least)
    breaker = breaker_of(None, retry_budget=budget)
    for _ in range(others):
        breaker.try_acquire()
    assert retries(breaker) == most


async def test_requests_that_wait_are_part_of_what_the_budget_is_a_share_of() -> None:
    breaker = full(5, retry_budget=RetryBudgetConfig(budget_percent=50, min_retry_concurrency=0))
    tasks = await waiters(breaker, 5)
    assert retries(breaker) == 5
    await end(*tasks)


def test_requests_between_two_attempts_are_part_of_it_too() -> None:
    breaker = breaker_of(None, retry_budget=RetryBudgetConfig(budget_percent=50, min_retry_concurrency=0))
    with breaker.backing_off(), breaker.backing_off(), breaker.backing_off():
        assert breaker.try_start_retry()
        assert breaker.try_start_retry()
        assert not breaker.allows_retry
    assert (breaker.retries, breaker.active) == (2, 0)
    breaker.end_retry()
    breaker.end_retry()
    assert not breaker.allows_retry


def test_the_budget_falls_with_the_load_and_retries_under_way_go_on() -> None:
    breaker = breaker_of(None, retry_budget=RetryBudgetConfig(budget_percent=50, min_retry_concurrency=1))
    for _ in range(9):
        breaker.try_acquire()
    assert retries(breaker) == 5
    for _ in range(9):
        breaker.release()
    assert (breaker.retries, breaker.allows_retry) == (5, False)
    for _ in range(5):
        breaker.end_retry()
    assert retries(breaker) == 1


@pytest.mark.parametrize(("others", "most"), [(0, 10), (9, 10), (10, 11), (499, 500)])
def test_without_a_bound_retries_at_worst_double_the_load(others: int, most: int) -> None:
    breaker = breaker_of(None)
    for _ in range(others):
        breaker.try_acquire()
    assert retries(breaker) == most


def test_a_budget_wins_over_a_number() -> None:
    breaker = breaker_of(
        None, max_retries=50, retry_budget=RetryBudgetConfig(budget_percent=0, min_retry_concurrency=2)
    )
    assert retries(breaker) == 2


def test_another_configuration_bounds_new_retries() -> None:
    breaker = breaker_of(None, max_retries=5)
    assert retries(breaker) == 5
    breaker.reconfigure(BreakerConfig(max_retries=2))
    breaker.end_retry()
    assert (breaker.retries, breaker.allows_retry) == (4, False)
    breaker.reconfigure(BreakerConfig(max_retries=6))
    assert retries(breaker) == 2


@given(percent=st.integers(0, 100), least=st.integers(0, 20), others=st.integers(0, 300))
def test_the_share_is_rounded_down(percent: int, least: int, others: int) -> None:
    budget = RetryBudgetConfig(budget_percent=percent, min_retry_concurrency=least)
    breaker = breaker_of(None, retry_budget=budget)
    breaker.active = others
    assert retries(breaker) == max(least, percent * (others + 1) // 100)


# All of it together, against a queue as it is in books.


class Queueing(RuleBasedStateMachine):
    """Requests come, wait, are cancelled, time out and end; bounds change. After every step the breaker is where an
    ideal one would be."""

    @initialize(limit=st.integers(1, 4), max_pending=st.integers(0, 4))
    def begin(self, limit: int, max_pending: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.time_s = 0.0
        self.loop.time = lambda: self.time_s  # type: ignore[method-assign]  # of this loop alone
        self.limit, self.max_pending = limit, max_pending
        self.breaker = CircuitBreaker(self.config())
        self.active: list[asyncio.Task[None]] = []
        self.waiting: list[tuple[float, asyncio.Task[None]]] = []

    def config(self) -> BreakerConfig:
        return BreakerConfig(max_requests=self.limit, max_pending_requests=self.max_pending, queue_timeout_s=5)

    def settle(self) -> None:
        """Lets happen what can, and has the ideal breaker admit whom there is room for."""
        self.loop.run_until_complete(turns(20))
        while self.waiting and len(self.active) < self.limit:
            self.active.append(self.waiting.pop(0)[1])

    def leave(self, task: asyncio.Task[None]) -> None:
        self.active.remove(task)
        self.breaker.release()

    @rule(count=st.integers(1, 3))
    def arrive(self, count: int) -> None:
        for _ in range(count):
            task = self.loop.create_task(self.breaker.acquire())
            if len(self.active) < self.limit:
                self.active.append(task)
            elif len(self.waiting) < self.max_pending:
                self.waiting.append((self.time_s + 5, task))
            else:
                self.settle()
                assert isinstance(task.exception(), BreakerOpenError)
        self.settle()

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.leave(data.draw(st.sampled_from(self.active)))
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(entry)
        entry[1].cancel()
        self.settle()
        assert entry[1].cancelled()

    @precondition(lambda self: self.active and self.waiting)
    @rule(is_cancelled_first=st.booleans())
    def finish_and_cancel_the_next_at_once(self, is_cancelled_first: bool) -> None:
        _, task = self.waiting.pop(0)
        if is_cancelled_first:
            task.cancel()
        self.leave(self.active[0])
        task.cancel()
        self.settle()
        assert task.cancelled()

    @rule(seconds=st.sampled_from([1.0, 3.0, 6.0]))
    def time(self, seconds: float) -> None:
        self.time_s += seconds
        late = [task for due, task in self.waiting if due <= self.time_s]
        self.waiting = [(due, task) for due, task in self.waiting if due > self.time_s]
        self.settle()
        for task in late:
            assert isinstance(task.exception(), BreakerOpenError)

    @rule(limit=st.integers(1, 4), max_pending=st.integers(0, 4))
    def reconfigure(self, limit: int, max_pending: int) -> None:
        self.limit, self.max_pending = limit, max_pending
        self.breaker.reconfigure(self.config())
        self.settle()

    @invariant()
    def is_as_the_ideal_one(self) -> None:
        assert (self.breaker.active, self.breaker.pending) == (len(self.active), len(self.waiting))
        assert all(task.done() and task.exception() is None for task in self.active)
        assert not any(task.done() for _, task in self.waiting)
        assert not self.waiting or self.breaker.is_full
        assert self.breaker.refuses == (len(self.active) >= self.limit and len(self.waiting) >= self.max_pending)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            for _, task in self.waiting:
                task.cancel()
            self.loop.run_until_complete(turns(20))
            assert self.breaker.active == len(self.active)
            self.loop.close()


TestQueueing = Queueing.TestCase
TestQueueing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
