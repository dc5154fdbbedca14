"""The answers of a node: which are kept, and what becomes of calls that nobody waits for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.errors import BadGatewayError, InternalError, UnavailableError
from gateway.response_cache.flight import Flight, FlightReader
from gateway.response_cache.recording import AnswerHead, ReplayedAnswer
from gateway.response_cache.request_key import KeyPattern
from gateway.response_cache.response_cache import Produce, ResponseCache
from tests.gateway.filters.requests import context
from tests.gateway.upstream.calls import turns

HEADERS = ((b"content-type", b"text/plain"), (b"x-ratelimit-remaining", b"3"), (b"openai-organization", b"ours"))


@asynccontextmanager
async def running() -> AsyncIterator[ResponseCache]:
    answers = ResponseCache(max_bytes=100_000)
    task = asyncio.create_task(answers.run())
    await turns(2)
    try:
        yield answers
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def start(answers: ResponseCache, produce: Produce, key: str = "chat/c/1") -> FlightReader:
    return answers.start(key, context(), produce, keep_bytes=1000, keep_s=60).join()


async def whole(flight: Flight) -> None:
    flight.write_whole(AnswerHead(True, 200, HEADERS), b"hello")


async def stream(flight: Flight) -> None:
    flight.begin(AnswerHead(False, 200, HEADERS))
    for piece in (b"one", b"two"):
        await flight.write(piece)


async def read(answer: FlightReader | ReplayedAnswer) -> list[bytes]:
    await answer.read_head()
    pieces = []
    while (piece := await answer.read()) is not None:
        pieces.append(piece)
    return pieces


@pytest.mark.parametrize(("produce", "pieces"), [(whole, [b"hello"]), (stream, [b"one", b"two"])])
async def test_answer_is_kept_in_its_pieces_without_what_is_about_one_call(
    produce: Produce, pieces: list[bytes]
) -> None:
    async with running() as answers:
        reader = start(answers, produce)
        assert await read(reader) == pieces
        kept = await answers.find("chat/c/1")
        assert kept is not None
        assert await read(ReplayedAnswer(kept.recording)) == pieces
        assert kept.recording.head.headers == HEADERS[:1]
        assert answers.flight("chat/c/1") is None
        assert answers.entries == 1


@pytest.mark.parametrize("error", [BadGatewayError("cut"), ValueError("a fault of our own")])
async def test_what_fails_is_not_kept(error: Exception) -> None:
    async def fail(flight: Flight) -> None:
        await stream(flight)
        raise error

    async with running() as answers:
        reader = start(answers, fail)
        with pytest.raises(BadGatewayError if isinstance(error, BadGatewayError) else InternalError):
            await read(reader)
        assert await answers.find("chat/c/1") is None


async def test_no_other_status_is_kept_than_that_of_success() -> None:
    async def redirect(flight: Flight) -> None:
        flight.write_whole(AnswerHead(True, 302), b"")

    async with running() as answers:
        await read(start(answers, redirect))
        assert await answers.find("chat/c/1") is None


async def test_call_that_is_given_up_before_it_has_begun_ends_in_order() -> None:
    async with running() as answers:
        flight = answers.start("chat/c/1", context(), whole, keep_bytes=1000, keep_s=60)
        assert await flight.leave(flight.join())
        assert answers.flight("chat/c/1") is None
        assert await answers.find("chat/c/1") is None


async def test_answer_that_was_being_made_is_forgotten_with_the_others() -> None:
    gate = asyncio.Event()

    async def slow(flight: Flight) -> None:
        await gate.wait()
        await whole(flight)

    async with running() as answers:
        readers = [start(answers, slow, key) for key in ("chat/c/1", "chats/c/1")]
        assert await answers.purge(KeyPattern(route="chat")) == 0
        assert answers.flight("chat/c/1") is None
        gate.set()
        for reader in readers:
            assert await read(reader) == [b"hello"]
        assert await answers.find("chat/c/1") is None
        assert await answers.find("chats/c/1") is not None


async def test_those_who_wait_learn_that_the_node_ends() -> None:
    async def never(_: Flight) -> None:
        await asyncio.Event().wait()

    async with running() as answers:
        reader = start(answers, never)
        waiting = asyncio.create_task(read(reader))
        await turns(3)
    with pytest.raises(UnavailableError, match="about to stop"):
        await waiting
    with pytest.raises(UnavailableError, match="about to stop"):
        start(answers, whole)


async def test_who_asks_just_as_the_node_ends_does_not_wait_for_ever() -> None:
    answers = ResponseCache(max_bytes=100_000)
    task = asyncio.create_task(answers.run())
    await turns(2)
    task.cancel()
    reader = start(answers, whole)
    with pytest.raises(UnavailableError, match="about to stop"):
        await read(reader)
    await asyncio.gather(task, return_exceptions=True)


async def test_thousand_who_ask_at_once_share_one_call() -> None:
    calls = 0
    gate = asyncio.Event()

    async def count(flight: Flight) -> None:
        nonlocal calls
        calls += 1
        await gate.wait()
        await stream(flight)

    async def ask(answers: ResponseCache) -> list[bytes]:
        if (kept := await answers.find("chat/c/1")) is not None:
            return await read(ReplayedAnswer(kept.recording))
        flight = answers.flight("chat/c/1")
        reader = start(answers, count) if flight is None else flight.join()
        return await read(reader)

    async with running() as answers:
        asking = [asyncio.create_task(ask(answers)) for _ in range(1000)]
        await turns(3)
        gate.set()
        assert await asyncio.gather(*asking) == [[b"one", b"two"]] * 1000
        assert calls == 1
