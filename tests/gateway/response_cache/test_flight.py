"""Calls that are shared: in whatever order callers come, read and leave, each gets the whole answer or its failure, and
exactly one accounts for it."""

import asyncio
from random import Random

import pytest

from gateway.errors import BadGatewayError, GatewayError, UnavailableError
from gateway.response_cache.flight import Flight, FlightReader
from gateway.response_cache.recording import AnswerHead
from tests.gateway.filters.requests import context
from tests.gateway.upstream.calls import turns

STREAM = AnswerHead(False)


def flight(*, keep_bytes: int = 1000, window_bytes: int = 100) -> Flight:
    return Flight(context(), keep_bytes=keep_bytes, window_bytes=window_bytes)


async def read_all(reader: FlightReader) -> bytes:
    await reader.read_head()
    parts = []
    while (piece := await reader.read()) is not None:
        parts.append(piece)
    return b"".join(parts)


async def test_all_read_all_of_it_whenever_they_come() -> None:
    shared = flight()
    early = asyncio.create_task(read_all(shared.join()))
    await turns(2)
    shared.begin(STREAM)
    await shared.write(b"one ")
    late = asyncio.create_task(read_all(shared.join()))
    await shared.write(b"two")
    shared.end()
    assert [await early, await late] == [b"one two"] * 2
    assert shared.pieces() == (b"one ", b"two")


async def test_failure_comes_after_what_was_written_before_it() -> None:
    shared = flight()
    reader = shared.join()
    shared.begin(STREAM)
    await shared.write(b"one")
    shared.end(BadGatewayError("cut"))
    await reader.read_head()
    assert await reader.read() == b"one"
    for _ in range(2):
        with pytest.raises(BadGatewayError, match="cut"):
            await reader.read()
    with pytest.raises(BadGatewayError, match="cut"):
        await flight_that_failed().join().read_head()


def flight_that_failed() -> Flight:
    failed = flight()
    failed.end(BadGatewayError("cut"))
    return failed


async def test_cancelling_one_who_waits_wakes_no_other() -> None:
    shared = flight()
    tasks = [asyncio.create_task(read_all(shared.join())) for _ in range(3)]
    await turns(2)
    tasks[0].cancel()
    await turns(2)
    shared.begin(STREAM)
    await shared.write(b"one")
    shared.end()
    assert await asyncio.gather(*tasks[1:]) == [b"one", b"one"]
    assert tasks[0].cancelled()


async def test_call_waits_for_its_fastest_reader() -> None:
    shared = flight(window_bytes=10)
    fast, slow = shared.join(), shared.join()
    shared.begin(STREAM)
    await shared.write(b"x" * 10)
    writing = asyncio.create_task(shared.write(b"y"))
    await turns(3)
    assert not writing.done()
    await fast.read()
    await writing
    assert await slow.read() == b"x" * 10


async def test_one_who_reads_too_slowly_is_cut_off_once_not_all_is_kept() -> None:
    shared = flight(keep_bytes=100, window_bytes=50)
    fast, slow = shared.join(), shared.join()
    shared.begin(STREAM)
    for _ in range(20):
        await shared.write(b"x" * 20)
        await fast.read()
    with pytest.raises(UnavailableError, match="much faster"):
        await slow.read()
    assert not shared.is_joinable
    assert shared.pieces() is None
    assert shared.held_bytes <= 40


async def test_large_answer_to_one_alone_holds_no_more_than_the_window() -> None:
    shared = flight(keep_bytes=100, window_bytes=50)
    reader = shared.join()
    shared.begin(STREAM)

    async def write() -> None:
        for _ in range(100):
            await shared.write(b"x" * 20)
        shared.end()

    writing = asyncio.create_task(write())
    size = 0
    while (piece := await reader.read()) is not None:
        size += len(piece)
        assert shared.held_bytes <= 100
    await writing
    assert size == 2000


async def test_last_who_leaves_ends_the_call() -> None:
    shared = flight()
    first, second = shared.join(), shared.join()
    shared.cancel = lambda: shared.end(UnavailableError("cancelled"))
    assert not await shared.leave(first)
    assert shared.is_joinable
    assert await shared.leave(second)
    assert shared.is_over
    assert not shared.is_joinable


async def test_call_that_somebody_else_accounts_for_goes_on_without_readers() -> None:
    shared = Flight(context(), keep_bytes=1000, cancel=pytest.fail, is_accounted=True)
    assert not await shared.leave(shared.join())
    assert shared.is_joinable
    late = shared.join()
    shared.write_whole(AnswerHead(True), b"one")
    shared.end()
    assert await read_all(late) == b"one"
    assert not await shared.leave(late)


@pytest.mark.parametrize("seed", range(300))
async def test_whatever_the_order_each_gets_all_and_one_accounts(seed: int) -> None:
    chance = Random(seed)
    pieces = [bytes([chance.randrange(256)]) * chance.randint(1, 40) for _ in range(chance.randint(0, 12))]
    failure: GatewayError | None = BadGatewayError("cut") if chance.random() < 0.3 else None
    shared = flight(keep_bytes=10_000, window_bytes=chance.choice([1, 50, 10_000]))

    async def call() -> None:
        await pause()
        shared.begin(STREAM)
        for piece in pieces:
            await shared.write(piece)
            await pause()
        shared.end(failure)

    async def pause() -> None:
        await turns(chance.randint(0, 3))

    calling = asyncio.create_task(call())
    shared.cancel = calling.cancel
    calling.add_done_callback(lambda _: None if shared.is_over else shared.end(UnavailableError("cancelled")))
    accounting: list[int] = []

    async def caller(number: int) -> bytes | GatewayError | None:
        if not shared.is_joinable:
            return None
        reader = shared.join()
        parts = []
        try:
            await pause()
            await reader.read_head()
            while (piece := await reader.read()) is not None:
                parts.append(piece)
                await pause()
        except GatewayError as error:
            return error
        finally:
            if await shared.leave(reader):
                accounting.append(number)
        return b"".join(parts)

    callers = []
    for number in range(chance.randint(1, 6)):
        callers.append(asyncio.create_task(caller(number)))
        await pause()
        if chance.random() < 0.3:
            chance.choice(callers).cancel()
    told = await asyncio.gather(*callers, return_exceptions=True)
    await asyncio.gather(calling, return_exceptions=True)

    stayed = [each for each in told if each is not None and not isinstance(each, asyncio.CancelledError)]
    assert all(each == (failure or b"".join(pieces)) for each in stayed), (stayed, shared)
    assert len(accounting) <= 1
    assert len(accounting) == 1 or not stayed
    assert shared.is_over
