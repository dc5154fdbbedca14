"""Keys that issuers publish: one reading for all who wait, the last good set kept, none whenever strangers want it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from gateway.config.snapshot import KeySource
from gateway.filters.key_set import KeySet, read_key_set
from gateway.filters.published_keys import KeyDirectory, KeyFetcher, NoKeysError, PublishedKeys
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.scripts import answer, fail, huge, reset, stall
from tests.support.tokens import ec_key, jwk, key_set

EC = ec_key()


@pytest.fixture
async def upstream() -> AsyncIterator[FaultyUpstream]:
    upstream = FaultyUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


def keys(*names: str) -> KeySet:
    return read_key_set(key_set(*(jwk(EC, name) for name in names)))


def at(uri: str) -> KeySource:
    return KeySource(jwks_uri=uri)


class Issuer:
    """Answers readings as told; one that is to wait is held until `release`."""

    def __init__(self, *answers: KeySet | Exception) -> None:
        self.answers = deque(answers)
        self.readings = 0
        self.began = asyncio.Condition()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, source: KeySource) -> KeySet:
        async with self.began:
            self.readings += 1
            self.began.notify_all()
        await self.gate.wait()
        found = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def until_read(self, times: int) -> None:
        async with self.began:
            await self.began.wait_for(lambda: self.readings >= times)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def running(issuer: Issuer, clock: Clock) -> AsyncIterator[PublishedKeys]:
    published = PublishedKeys(at("https://id.example/jwks"), issuer, clock)
    task = asyncio.create_task(published.run())
    try:
        yield published
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_requests_before_the_first_reading_wait_for_it() -> None:
    issuer = Issuer(keys("k1"))
    issuer.gate.clear()
    async with running(issuer, Clock()) as published:
        waiting = [asyncio.create_task(published.find("k1", "ES256")) for _ in range(50)]
        await issuer.until_read(1)
        issuer.gate.set()
        assert all(await asyncio.gather(*waiting))
    assert issuer.readings == 1


async def test_waiting_for_the_first_reading_has_an_end() -> None:
    issuer = Issuer(keys("k1"))
    issuer.gate.clear()
    async with running(issuer, Clock()) as published:
        with pytest.raises(NoKeysError):
            await published.find("k1", "ES256", wait_s=0.01)


async def test_issuer_that_cannot_be_read_is_told_at_once_after_the_first_reading() -> None:
    issuer = Issuer(NoKeysError("down"))
    async with running(issuer, Clock()) as published:
        for _ in range(3):
            with pytest.raises(NoKeysError):
                await published.find("k1", "ES256", wait_s=60)


async def test_unknown_key_has_the_set_read_again_once_for_all_who_ask() -> None:
    issuer, clock = Issuer(keys("k1"), keys("k1", "k2")), Clock()
    async with running(issuer, clock) as published:
        assert await published.find("k1", "ES256") is not None
        clock.now += 31
        found = await asyncio.gather(*(published.find("k2", "ES256") for _ in range(50)))
        assert all(found)
        assert await published.find("k1", "ES256") is not None
    assert issuer.readings == 2


async def test_unknown_keys_have_it_read_at_most_once_in_thirty_seconds() -> None:
    issuer, clock = Issuer(keys("k1")), Clock()
    async with running(issuer, clock) as published:
        assert await published.find("k1", "ES256") is not None
        for number in range(100):
            assert await published.find(f"stranger-{number}", "ES256") is None
        assert issuer.readings == 1
        clock.now += 31
        for number in range(100):
            assert await published.find(f"stranger-{number}", "ES256") is None
        assert issuer.readings == 2


async def test_algorithm_that_the_key_is_not_for_is_like_an_unknown_key() -> None:
    async with running(Issuer(keys("k1")), Clock()) as published:
        assert await published.find("k1", "RS256") is None


async def test_last_good_keys_are_kept_while_there_are_no_others() -> None:
    issuer, clock = Issuer(keys("k1"), NoKeysError("down"), ZeroDivisionError("a fault of ours"), keys("k2")), Clock()
    async with running(issuer, clock) as published:
        assert await published.find("k1", "ES256") is not None
        for readings in (2, 3):
            clock.now += 31
            assert await published.find("k2", "ES256") is None
            assert issuer.readings == readings
            assert await published.find("k1", "ES256") is not None
        clock.now += 31
        assert await published.find("k2", "ES256") is not None
        assert await published.find("k1", "ES256") is None


async def test_slow_reading_holds_nobody_whose_key_is_known() -> None:
    issuer, clock = Issuer(keys("k1")), Clock()
    async with running(issuer, clock) as published:
        assert await published.find("k1", "ES256") is not None
        issuer.gate.clear()
        clock.now += 31
        asking = asyncio.create_task(published.find("k2", "ES256", wait_s=0.05))
        await issuer.until_read(2)
        assert await published.find("k1", "ES256", wait_s=60) is not None
        assert await asking is None


async def test_first_reading_is_tried_again_by_itself() -> None:
    issuer = Issuer(NoKeysError("down"), keys("k1"))
    async with running(issuer, Clock()) as published:
        await issuer.until_read(2)
        assert await published.find("k1", "ES256") is not None


@pytest.mark.parametrize(
    "script",
    [
        fail(500),
        fail(404),
        answer(response(302, headers=[("location", "http://127.0.0.1:9/")])),
        answer(response(200, b"<html>")),
        answer(response(200, b'{"keys": []}')),
        answer(response(200, b"\x1f\x8b\x08\x00garbage", headers=[("content-encoding", "gzip")])),
        huge(300 * 1024),
        reset(),
    ],
)
async def test_what_issuers_answer_wrongly_is_no_key_set(upstream: FaultyUpstream, script: Any) -> None:
    upstream.script = script
    fetcher = KeyFetcher()
    with pytest.raises(NoKeysError):
        await fetcher(at(f"{upstream.url}/jwks"))
    await fetcher.close()
    assert [request.target for request in upstream.requests][:1] == ["/jwks"]


async def test_issuer_that_does_not_answer_or_is_not_there(upstream: FaultyUpstream) -> None:
    upstream.script = stall()
    fetcher = KeyFetcher(timeout_s=0.05)
    with pytest.raises(NoKeysError, match="no answer"):
        await fetcher(at(upstream.url))
    url = upstream.url
    await upstream.stop()
    with pytest.raises(NoKeysError):
        await fetcher(at(url))
    await fetcher.close()


async def test_keys_outlive_a_configuration_that_still_names_them(upstream: FaultyUpstream) -> None:
    upstream.script = answer(response(200, key_set(jwk(EC)).encode()))
    one, other = at(upstream.url), at(f"{upstream.url}/other")
    directory = KeyDirectory(KeyFetcher(), Clock())
    directory.reconcile({one})
    running_directory = asyncio.create_task(directory.run())
    first = directory.at(one)
    assert await first.find("k1", "ES256") is not None
    directory.reconcile({one, other})
    assert directory.at(one) is first
    assert await directory.at(other).find("k1", "ES256") is not None
    directory.reconcile({other})
    directory.reconcile({other, one})
    assert directory.at(one) is not first
    assert await directory.at(one).find("k1", "ES256") is not None
    running_directory.cancel()
    with suppress(asyncio.CancelledError):
        await running_directory
    assert len(upstream.requests) == 3
