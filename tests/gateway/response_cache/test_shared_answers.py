"""Answers that nodes keep together in one real store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiocache.base import BaseCache

from gateway.response_cache.flight import Flight
from gateway.response_cache.recording import AnswerHead
from gateway.response_cache.request_key import KeyPattern, request_key
from gateway.response_cache.response_cache import ResponseCache
from gateway.response_cache.shared_answers import SharedAnswers
from gateway.shared_store import Script, SharedStore, StoreUnavailableError
from tests.gateway.filters.requests import context
from tests.gateway.upstream.calls import turns
from tests.support.polling import eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.component("redis")


@asynccontextmanager
async def node(server: RedisServer, *, ahead_s: float = 0.0) -> AsyncIterator[ResponseCache]:
    """The cache of one node, whose clock may be ahead of that of others."""
    store = SharedStore(server.url)
    answers = ResponseCache(shared=store, wall_clock=lambda: 1000.0 + ahead_s)
    task = asyncio.create_task(answers.run())
    await turns(2)
    try:
        yield answers
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()


async def keep(answers: ResponseCache, key: str, body: bytes = b"hello", keep_s: float = 60) -> None:
    async def produce(flight: Flight) -> None:
        flight.write_whole(AnswerHead(True), body)

    flight = answers.start(key, context(), produce, keep_bytes=1000, keep_s=keep_s, is_shared=True)
    reader = flight.join()
    assert await reader.read() == body
    await flight.leave(reader)

    async def is_landed() -> bool:
        return answers.flight(key) is None

    await eventually(is_landed)


def key_of(route: str, *scope: str) -> str:
    return request_key(context(route=route), scope=scope, version=b"1", form="f", effective=b"{}", seen={})


async def test_it_is_a_cache_of_aiocache(redis_server: RedisServer) -> None:
    store = SharedStore(redis_server.url)
    cache = SharedAnswers(store)
    assert isinstance(cache, BaseCache)
    await cache.set("chat/a/1", b"\x00\xff", ttl=60)
    await cache.set("faq/a/1", b"2", ttl=60)
    assert await cache.get("chat/a/1") == b"\x00\xff"
    await cache.clear(namespace="chat/")
    assert (await cache.get("chat/a/1"), await cache.get("faq/a/1")) == (None, b"2")
    assert await cache.delete("faq/a/1") == 1
    assert await cache.get("faq/a/1") is None
    await store.close()


async def test_answer_of_one_node_is_found_by_another_until_its_time_is_over(redis_server: RedisServer) -> None:
    async with (
        node(redis_server) as one,
        node(redis_server, ahead_s=7) as other,
        node(redis_server, ahead_s=-7) as slow,
    ):
        await keep(one, "chat/c/1", keep_s=0.5)
        kept, older = await other.find("chat/c/1", is_shared=True), await slow.find("chat/c/1", is_shared=True)
        assert kept is not None
        assert older is not None
        assert (kept.recording.pieces, kept.age_s, older.age_s) == ((b"hello",), 7.0, 0.0)
        assert (one.entries, await other.find("chat/c/1")) == (0, None)

        async def is_forgotten() -> bool:
            return await other.find("chat/c/1", is_shared=True) is None

        await eventually(is_forgotten)


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (KeyPattern(), []),
        (KeyPattern(route="chat"), ["alice's faq"]),
        (KeyPattern(consumer="alice"), ["all's chat", "bob's chat"]),
        (KeyPattern(route="chat", consumer="alice"), ["alice's faq", "all's chat", "bob's chat"]),
        (KeyPattern(consumer="ali*"), ["alice's chat", "alice's faq", "all's chat", "bob's chat"]),
    ],
)
@pytest.mark.parametrize("is_shared", [True, False])
async def test_purge_forgets_what_is_asked_for(
    redis_server: RedisServer, wanted: KeyPattern, left: list[str], is_shared: bool
) -> None:
    kept = {
        "alice's chat": key_of("chat", "consumer", "alice"),
        "alice's faq": key_of("faq", "consumer", "alice"),
        "bob's chat": key_of("chat", "consumer", "bob"),
        "all's chat": key_of("chat", "route"),
    }
    async with node(redis_server) as answers:
        for key in kept.values():
            await answers._store(is_shared).set(key, b"1", ttl=60)
        assert await answers.purge(wanted) == len(kept) - len(left)
        found = [name for name, key in kept.items() if await answers._store(is_shared).get(key) is not None]
        assert sorted(found) == left


async def test_purge_of_more_than_one_step_forgets_all(redis_server: RedisServer) -> None:
    store = SharedStore(redis_server.url)
    fill = "for number = 1, 2500 do redis.call('SET', 'janua:cache:1:chat/c/' .. number, 1) end"
    await store.run(Script.of(fill), [], [])
    await store.set(b"janua:limit:1", b"1", 60)
    assert await ResponseCache(shared=store).purge() == 2500
    assert await store.get(b"janua:limit:1") == b"1"
    await store.close()


async def test_what_somebody_else_wrote_is_no_answer(redis_server: RedisServer) -> None:
    async with node(redis_server) as answers:
        for data in (b"", b"rubbish", b"\x93\x01\x02\x03"):
            await answers._store(True).set("chat/c/1", data, ttl=60)
            assert await answers.find("chat/c/1", is_shared=True) is None


async def test_store_that_is_down_is_told_and_ends_nothing(redis_server: RedisServer) -> None:
    async with node(redis_server) as answers:
        redis_server.stop()
        with pytest.raises(StoreUnavailableError):
            await answers.find("chat/c/1", is_shared=True)
        await keep(answers, "chat/c/1")
        with pytest.raises(StoreUnavailableError):
            await answers.purge()
        await redis_server.start()

        async def is_kept() -> bool:
            try:
                await keep(answers, "chat/c/1")
                return await answers.find("chat/c/1", is_shared=True) is not None
            except StoreUnavailableError:
                return False

        await eventually(is_kept)


async def test_who_comes_while_an_answer_is_on_its_way_to_the_store_joins(redis_server: RedisServer) -> None:
    gate = asyncio.Event()

    class Slow(SharedStore):
        async def set(self, key: bytes, value: bytes, ttl_s: float) -> None:
            await gate.wait()
            await super().set(key, value, ttl_s)

    async def produce(flight: Flight) -> None:
        flight.write_whole(AnswerHead(True), b"hello")

    store = Slow(redis_server.url)
    answers = ResponseCache(shared=store)
    task = asyncio.create_task(answers.run())
    await turns(2)
    flight = answers.start("chat/c/1", context(), produce, keep_bytes=1000, keep_s=60, is_shared=True)
    first = flight.join()
    assert [await first.read(), await first.read()] == [b"hello", None]
    assert await flight.leave(first)
    assert answers.flight("chat/c/1") is flight
    late = flight.join()
    assert [await late.read(), await late.read()] == [b"hello", None]
    assert not await flight.leave(late)
    gate.set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.close()
