"""The memory of kept answers: what it holds, for how long, and never more than it may."""

import os
import random
from pathlib import Path

import pytest
from aiocache.base import BaseCache
from hypothesis import given
from hypothesis import strategies as st

from gateway.response_cache.memory_store import MemoryStore
from gateway.response_cache.vectors import Place

PAGE = os.sysconf("SC_PAGE_SIZE")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def store(clock: Clock, *, max_bytes: int = 100_000, max_entries: int = 100) -> MemoryStore:
    return MemoryStore(max_bytes=max_bytes, max_entries=max_entries, clock=clock)


async def test_it_is_a_cache_of_aiocache(clock: Clock) -> None:
    cache = store(clock)
    assert isinstance(cache, BaseCache)
    await cache.set("a", b"1")
    await cache.multi_set([("b", b"2"), ("c", b"3")])
    assert await cache.multi_get(["a", "b", "d"]) == [b"1", b"2", None]
    assert await cache.exists("c")
    assert (await cache.delete("c"), await cache.delete("c")) == (1, 0)
    assert await cache.get("c", default=b"none") == b"none"
    with pytest.raises(ValueError, match="a is there already"):
        await cache.add("a", b"2")
    assert await cache.add("c", b"4")


async def test_entries_end_with_their_time(clock: Clock) -> None:
    cache = store(clock)
    await cache.set("a", b"1", ttl=5)
    await cache.set("forever", b"2")
    clock.now += 4.9
    assert await cache.get("a") == b"1"
    clock.now += 0.2
    assert (await cache.get("a"), await cache.get("forever")) == (None, b"2")
    assert len(cache) == 1
    assert await cache.expire("forever", 1)
    clock.now += 1
    assert await cache.get("forever") is None
    assert cache.size_bytes == 0


async def test_least_recently_used_goes_first(clock: Clock) -> None:
    cache = store(clock, max_entries=2)
    await cache.set("a", b"1")
    await cache.set("b", b"2")
    await cache.get("a")
    await cache.set("c", b"3")
    assert await cache.multi_get(["a", "b", "c"]) == [b"1", None, b"3"]


async def test_what_is_larger_than_all_room_takes_nobodys(clock: Clock) -> None:
    cache = store(clock, max_bytes=2000)
    await cache.set("a", b"1")
    assert not await cache.set("b", bytes(2000))
    assert await cache.multi_get(["a", "b"]) == [b"1", None]


async def test_those_of_one_namespace_are_cleared(clock: Clock) -> None:
    cache = store(clock)
    await cache.multi_set([("chat/1", b"1"), ("chat/2", b"2"), ("chat-2/1", b"3")])
    await cache.clear(namespace="chat/")
    assert (len(cache), await cache.get("chat-2/1")) == (1, b"3")
    await cache.clear(namespace="")
    assert (len(cache), cache.size_bytes) == (0, 0)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["set", "get", "delete"]), st.integers(0, 20), st.integers(0, 3000)), max_size=60
)


@given(actions=ACTIONS)
async def test_it_never_holds_more_than_it_may(actions: list[tuple[str, int, int]]) -> None:
    cache = MemoryStore(max_bytes=8000, max_entries=7, clock=Clock())
    kept: dict[str, bytes] = {}
    for action, number, size in actions:
        key = f"k{number}"
        match action:
            case "set":
                if await cache.set(key, bytes(size)):
                    kept[key] = bytes(size)
            case "get":
                assert await cache.get(key) in (None, kept.get(key))
            case _:
                await cache.delete(key)
                kept.pop(key, None)
        assert len(cache) <= 7
        assert 0 <= cache.size_bytes <= 8000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
@pytest.mark.parametrize("sizes", [(100, 200), (900, 1100), (10_000, 60_000)], ids=["tiny", "usual", "large"])
async def test_bound_holds_for_the_memory_that_is_really_taken(clock: Clock, sizes: tuple[int, int]) -> None:
    """With many more distinct answers than there is room for. The soak test does this a million times."""
    limit = 32 * 1024 * 1024
    cache = store(clock, max_bytes=limit, max_entries=10**6)
    chance = random.Random(7)
    before = resident_bytes()
    written = 0
    while written < 3 * limit:
        value = chance.randbytes(chance.randint(*sizes))
        await cache.set(f"chat/{chance.getrandbits(256):064x}", value)
        written += len(value) + 400
    assert cache.size_bytes > 0.99 * limit - 60_000
    assert resident_bytes() - before < 1.1 * limit


def place(partition: str = "p", *, room: int = 10, size: int = 4) -> Place:
    return Place(partition, tuple(float(number) for number in range(size)), room)


def found(cache: MemoryStore, partition: str = "p", ends_after: float = 0.0) -> list[str]:
    return [key for key, _ in cache.places(partition, ends_after=ends_after)]


async def test_places_are_those_of_a_partition_the_last_used_first(clock: Clock) -> None:
    cache = store(clock)
    for key in "abc":
        cache.keep(key, b"1", 5, place())
    cache.keep("d", b"1", 5, place("other"))
    await cache.set("e", b"1", 5)
    await cache.get("a")
    assert found(cache) == ["a", "c", "b"]
    assert (found(cache, "other"), found(cache, "none")) == (["d"], [])


async def test_places_end_with_their_values(clock: Clock) -> None:
    cache = store(clock, max_entries=3)
    cache.keep("a", b"1", 5, place())
    clock.now += 3
    cache.keep("b", b"1", 5, place())
    assert found(cache, ends_after=clock.now + 3) == ["b"]
    assert found(cache, ends_after=clock.now + 2) == ["b"]
    assert found(cache, ends_after=clock.now + 1) == ["b", "a"]
    clock.now += 2
    assert found(cache, ends_after=clock.now) == ["b"]
    await cache.set("a", b"2")  # now without a place
    assert found(cache) == ["b"]
    await cache.set("c", b"1")
    await cache.set("d", b"1")  # there is no room for b any more
    assert found(cache) == []
    cache.keep("e", b"1", 5, place())
    assert cache.clear_matching(lambda key: key == "e") == 1
    assert found(cache) == []
    await cache.clear()
    assert cache.size_bytes == 0


async def test_partition_without_room_loses_the_place_of_the_least_recently_used(clock: Clock) -> None:
    cache = store(clock)
    for key in "abc":
        cache.keep(key, key.encode(), 5, place(room=2))
    assert found(cache) == ["c", "b"]
    assert await cache.get("a") == b"a"
    assert found(cache) == ["c", "b"]
    bare = store(clock)
    await bare.set("a", b"a", 5)
    for key in "bc":
        bare.keep(key, key.encode(), 5, place())
    assert cache.size_bytes == bare.size_bytes


PLACING = st.lists(
    st.tuples(
        st.sampled_from(["set", "place", "get", "delete", "wait"]), st.integers(0, 12), st.integers(0, 2),
        st.integers(0, 100),
    ),
    max_size=60,
)  # fmt: skip


@given(actions=PLACING)
async def test_partitions_never_mix_and_vectors_count(actions: list[tuple[str, int, int, int]]) -> None:
    clock = Clock()
    cache = MemoryStore(max_bytes=20_000, max_entries=7, clock=clock)
    last: dict[str, Place | None] = {}
    for action, number, partition, size in actions:
        key = f"k{number}"
        match action:
            case "set":
                await cache.set(key, b"v", 10)
                last[key] = None
            case "place":
                last[key] = at = place(f"p{partition}", room=3, size=size)
                cache.keep(key, b"v", 10, at)
            case "get":
                await cache.get(key)
            case "delete":
                await cache.delete(key)
            case _:
                clock.now += 3
        for each in ("p0", "p1", "p2"):
            places = cache.places(each, ends_after=clock.now)
            assert len(places) <= 3
            for key_there, vector in places:
                known = last[key_there]
                assert known is not None
                assert (known.partition, known.vector) == (each, vector)
                assert await cache.exists(key_there)
        assert len(cache) <= 7
        assert 0 <= cache.size_bytes <= 20_000
    await cache.clear()
    assert cache.size_bytes == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
@pytest.mark.parametrize("size", [64, 384, 1536])
async def test_bound_holds_for_the_memory_that_vectors_really_take(clock: Clock, size: int) -> None:
    limit = 32 * 1024 * 1024
    cache = store(clock, max_bytes=limit, max_entries=10**6)
    chance = random.Random(7)
    before = resident_bytes()
    written = 0
    while written < 2 * limit:
        at = Place(f"chat/{chance.getrandbits(256):064x}", tuple(chance.random() for _ in range(size)), 100)
        cache.keep(f"chat/{chance.getrandbits(256):064x}", chance.randbytes(1000), 60, at)
        written += at.size_bytes + 2000
    assert cache.size_bytes > 0.98 * limit - 100_000
    assert resident_bytes() - before < 1.1 * limit
