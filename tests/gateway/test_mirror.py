"""Copies of requests: exactly the share that is wanted, never too many at a time, and nobody's concern when they
fail."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import Failure
from gateway.errors import BadGatewayError, UnavailableError
from gateway.mirror import Mirrors
from gateway.upstream.retry import AttemptFailedError
from tests.gateway.upstream.calls import turns


@asynccontextmanager
async def running(max_in_flight: int = 64) -> AsyncIterator[Mirrors]:
    """Mirrors that run until the end of the block."""
    mirrors = Mirrors(max_in_flight)
    task = asyncio.create_task(mirrors.run())
    await turns(5)
    try:
        yield mirrors
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert mirrors.in_flight == 0


class Copies:
    """Copies that wait to be let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.gate = asyncio.Event()

    async def make(self, error: Exception | None = None) -> None:
        self.begun += 1
        try:
            await self.gate.wait()
            if error is not None:
                raise error
        finally:
            self.ended += 1


# Which requests.


async def shares(percent: float, requests: int) -> list[bool]:
    async with running() as mirrors:
        return [mirrors.takes("route", percent) for _ in range(requests)]


@pytest.mark.parametrize(("percent", "every"), [(100, 1), (50, 2), (25, 4), (10, 10), (1, 100), (0.1, 1000)])
async def test_every_so_manieth_request_is_copied(percent: float, every: int) -> None:
    taken = await shares(percent, 3 * every)
    assert [number for number, is_taken in enumerate(taken, 1) if is_taken] == [every, 2 * every, 3 * every]


@given(
    percent=st.one_of(st.floats(0.01, 100), st.integers(1, 100), st.sampled_from([0.1, 0.7, 33.3, 66.6, 99.9])),
    requests=st.integers(0, 2000),
)
def test_the_share_is_exact_at_any_moment(percent: float, requests: int) -> None:
    taken = asyncio.run(shares(percent, requests))
    exact = Fraction(percent) / 100
    copied = 0
    for number, is_taken in enumerate(taken, 1):
        copied += is_taken
        assert abs(copied - number * exact) <= 1
    assert copied == int(requests * percent / 100)


async def test_routes_have_their_shares_each_for_itself() -> None:
    async with running() as mirrors:
        first = [mirrors.takes("a", 50) for _ in range(4)]
        assert first == [mirrors.takes("b", 50) for _ in range(4)] == [False, True, False, True]


async def test_a_share_that_changes_holds_from_then_on() -> None:
    async with running() as mirrors:
        for _ in range(37):
            mirrors.takes("route", 10)
        assert sum(mirrors.takes("route", 50) for _ in range(1000)) == 500
        assert sum(mirrors.takes("route", 1) for _ in range(1000)) == 10


# How many at a time.


async def test_no_more_copies_than_may_be_are_in_flight_and_the_rest_is_passed_over() -> None:
    copies = Copies()
    async with running(max_in_flight=3) as mirrors:
        for _ in range(10):
            if mirrors.takes("route", 100):
                mirrors.start(copies.make())
        await turns(5)
        assert (copies.begun, mirrors.in_flight) == (3, 3)
        copies.gate.set()
        await turns(5)
        assert (copies.ended, mirrors.in_flight) == (3, 0)
        assert mirrors.takes("route", 100)


async def test_a_copy_counts_from_the_moment_it_is_started() -> None:
    copies = Copies()
    async with running(max_in_flight=1) as mirrors:
        mirrors.start(copies.make())
        assert mirrors.in_flight == 1
        assert not mirrors.takes("route", 100)
        copies.gate.set()


# What goes wrong.


@pytest.mark.parametrize(
    "error",
    [
        BadGatewayError("no"),
        AttemptFailedError(UnavailableError("no"), Failure.CONNECT_FAILURE),
        ValueError("a header that cannot be sent"),
        TimeoutError(),
    ],
)
async def test_a_copy_that_fails_harms_nobody(error: Exception) -> None:
    copies = Copies()
    async with running() as mirrors:
        mirrors.start(copies.make(error))
        mirrors.start(copies.make())
        copies.gate.set()
        await turns(5)
        assert (copies.ended, mirrors.in_flight) == (2, 0)
        mirrors.start(copies.make())
        await turns(5)
        assert copies.ended == 3


async def test_only_faults_of_our_own_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    async with running() as mirrors:
        copies = Copies()
        copies.gate.set()
        mirrors.start(copies.make(BadGatewayError("theirs")))
        mirrors.start(copies.make(ValueError("ours")))
        await turns(5)
    logged = capsys.readouterr().out
    assert "copy of a request failed" in logged
    assert "theirs" not in logged


async def test_copies_end_with_the_run() -> None:
    copies = Copies()
    async with running() as mirrors:
        mirrors.start(copies.make())
        await turns(5)
    assert (copies.begun, copies.ended) == (1, 1)


async def test_a_copy_of_the_last_moment_does_not_even_begin() -> None:
    copies, mirrors = Copies(), Mirrors()
    task = asyncio.create_task(mirrors.run())
    await turns(5)
    mirrors.start(copies.make())
    await turns(5)
    task.cancel()
    mirrors.start(copies.make())
    await asyncio.sleep(0)
    mirrors.start(copies.make())
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert (copies.begun, copies.ended, mirrors.in_flight) == (1, 1, 0)


async def test_nothing_is_copied_before_the_run_and_after_it() -> None:
    copies = Copies()

    async def refused(mirrors: Mirrors, copy: Coroutine[None, None, None]) -> None:
        assert not mirrors.takes("route", 100)
        mirrors.start(copy)
        await turns(5)
        assert (copies.begun, mirrors.in_flight) == (0, 0)

    await refused(Mirrors(), copies.make())
    async with running() as mirrors:
        pass
    await refused(mirrors, copies.make())
