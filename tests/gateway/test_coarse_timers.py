"""Time limits that share one timer: they fire, a little late, only once, and not after they have been cancelled."""

import asyncio

import pytest

from gateway.coarse_timers import COARSE_S, TimeLimit, call_about, coarse_timers


async def test_coarse_timer_fires_at_its_time_or_a_little_later() -> None:
    loop = asyncio.get_running_loop()
    fired = asyncio.get_running_loop().create_future()
    due = loop.time() + 0.12
    coarse_timers(loop).call_at(due, lambda: fired.set_result(loop.time()))
    assert due <= await asyncio.wait_for(fired, 5) < due + 20 * COARSE_S


async def test_cancelled_timer_does_not_fire_and_leaves_nothing() -> None:
    loop = asyncio.get_running_loop()
    timers = coarse_timers(loop)
    fired: list[str] = []
    done = asyncio.Event()
    cancelled = timers.call_at(loop.time(), lambda: fired.append("cancelled"))
    timers.call_at(loop.time(), lambda: fired.append("kept"))
    timers.call_at(loop.time() + 2 * COARSE_S, done.set)
    cancelled.cancel()
    cancelled.cancel()
    await asyncio.wait_for(done.wait(), 5)
    assert fired == ["kept"]
    assert not timers.pending


async def test_timer_cancelled_by_another_in_the_same_tick_does_not_fire() -> None:
    loop = asyncio.get_running_loop()
    timers = coarse_timers(loop)
    fired: list[int] = []
    pair = [timers.call_at(loop.time(), lambda number=number: strike(number)) for number in range(2)]  # type: ignore[misc]

    def strike(number: int) -> None:
        fired.append(number)
        pair[1 - number].cancel()

    done = asyncio.Event()
    timers.call_at(loop.time() + 3 * COARSE_S, done.set)
    await asyncio.wait_for(done.wait(), 5)
    assert len(fired) == 1


async def test_near_time_is_kept_exactly() -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    before = len(coarse_timers(loop).pending)
    call_about(loop.time() + 0.01, done.set)
    assert len(coarse_timers(loop).pending) == before
    await asyncio.wait_for(done.wait(), 5)


async def test_time_limit_that_passes_is_a_timeout() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError), TimeLimit(loop.time() + 0.02):
        await loop.create_future()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_time_limit_that_has_passed_already_is_a_timeout() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError), TimeLimit(loop.time() - 1):
        await loop.create_future()


async def test_block_in_time_keeps_its_own_end() -> None:
    loop = asyncio.get_running_loop()
    with TimeLimit(loop.time() + 60):
        await asyncio.sleep(0)
    with pytest.raises(ValueError, match="own"), TimeLimit(loop.time() + 60):
        raise ValueError("own")
    assert not coarse_timers(loop).pending


async def test_cancellation_by_others_stays_one() -> None:
    loop = asyncio.get_running_loop()
    started = asyncio.Event()

    async def work() -> None:
        with TimeLimit(loop.time() + 60):
            started.set()
            await loop.create_future()

    task = loop.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_inner_limit_leaves_the_outer_one_alone() -> None:
    loop = asyncio.get_running_loop()
    with TimeLimit(loop.time() + 60):
        with pytest.raises(TimeoutError), TimeLimit(loop.time() + 0.01):
            await loop.create_future()
        await asyncio.sleep(0)
