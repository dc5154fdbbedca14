"""The scripts of the shared store do what the meters of a node do: both are driven by the same clock and compared."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.filters.limits.meter import NEVER, Meter
from gateway.filters.limits.shared import RENEW, RESERVE, SETTLE, SharedKind, Verdict
from gateway.filters.limits.sliding_window import SlidingWindow
from gateway.filters.limits.token_bucket import TokenBucket
from gateway.shared_store import Script, SharedStore
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.component("redis")

WINDOW_S = 12
SPAN = WINDOW_S * 10**6
BEGIN_US = 1_700_000_000_000_001
"""Of the tests' clock; a microsecond off the edges of steps, where rounding decides."""


def _at_test_time(script: Script) -> Script:
    assert "redis.call('TIME')" in script.text
    return Script.of(script.text.replace("redis.call('TIME')", "redis.call('HMGET', 'clock', 's', 'us')"))


RESERVE_AT, SETTLE_AT, RENEW_AT = map(_at_test_time, (RESERVE, SETTLE, RENEW))


@dataclass
class Scripted:
    """One key in the store, at times that a test sets."""

    store: SharedStore
    kind: SharedKind
    limit: int
    span: int = SPAN
    key: bytes = field(default_factory=lambda: secrets.token_bytes(8))
    leases: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def set_time(self, now_us: int) -> None:
        """As if no time had been before."""
        await self.set_clock(now_us)
        await self.store.delete(b"janua:limit:clock")

    async def set_clock(self, now_us: int) -> None:
        text = "return redis.call('HSET', 'clock', 's', ARGV[1], 'us', ARGV[2])"
        await self.store.run(Script.of(text), [b"clock"], [now_us // 10**6, now_us % 10**6])

    async def reserve(self, amount: int, lease: bytes = b"l", *, enforced: bool = True) -> tuple[bool, Verdict]:
        kind = self.kind.value.encode()
        arguments: list[bytes | int] = [lease, kind, amount, self.limit, self.span, int(enforced)]
        taken, *verdict = await self.store.run(RESERVE_AT, [self.key], arguments)
        return bool(taken), Verdict.of(*verdict)

    async def settle(
        self, taken: int, used: int, mark: int = 0, lease: bytes = b"l", batch: bytes | None = None
    ) -> None:
        batch = batch or secrets.token_bytes(8)
        arguments: list[bytes | int] = [self.kind.value.encode(), taken, used, self.limit, self.span, mark, lease]
        await self.store.run(SETTLE_AT, [batch, self.key], arguments)


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[SharedStore]:
    store = SharedStore(redis_server.url, timeout_s=10)
    yield store
    await store.close()


operations = st.lists(
    st.tuples(
        st.integers(0, 4_000).map(lambda millis: millis * 1000),  # how long after the one before, in us
        st.integers(1, 12),  # what is asked for
        st.one_of(st.none(), st.integers(0, 15)),  # what is used in the end, if it ends at once
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (SharedKind.WINDOW, lambda: SlidingWindow(WINDOW_S)),
        (SharedKind.BUCKET, lambda: TokenBucket(WINDOW_S)),
    ],
    ids=["window", "bucket"],
)
async def test_the_store_and_the_node_count_alike(
    redis_server: RedisServer, kind: SharedKind, make: Callable[[], Meter]
) -> None:
    @settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
    @given(operations, st.integers(1, 30))
    def check(asked: list[tuple[int, int, int | None]], limit: int) -> None:
        in_own_loop(redis_server.url, lambda store: compare(Scripted(store, kind, limit), make(), asked))

    await asyncio.to_thread(check)


def in_own_loop(url: str, work: Callable[[SharedStore], Awaitable[None]]) -> None:
    async def run() -> None:
        store = SharedStore(url, timeout_s=10)
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(run())


async def compare(scripted: Scripted, meter: Meter, asked: list[tuple[int, int, int | None]]) -> None:
    now_us, limit = BEGIN_US, scripted.limit
    for pause_us, amount, used in asked:
        now_us += pause_us
        now = now_us / 1e6
        await scripted.set_time(now_us)
        wait = meter.wait(now, amount, limit)
        taken, verdict = await scripted.reserve(amount)
        assert taken == (wait == 0)
        assert verdict.wait_s == (NEVER if wait == NEVER else pytest.approx(wait, abs=1e-5))
        if taken:
            mark = meter.take(now, amount, limit)
        reading = meter.read(now, limit)
        assert verdict.reading.remaining == reading.remaining
        assert verdict.reading.reset_s == pytest.approx(reading.reset_s, abs=1e-5)
        if taken and used is not None:
            meter.settle(now, mark, amount, used, limit)
            await scripted.settle(amount, used, verdict.mark)


async def test_a_batch_that_is_sent_twice_counts_once(store: SharedStore) -> None:
    scripted = Scripted(store, SharedKind.WINDOW, limit=10)
    await scripted.set_time(BEGIN_US)
    _, verdict = await scripted.reserve(8)
    for _ in range(2):
        await scripted.settle(8, 5, verdict.mark, batch=b"batch")
    _, after = await scripted.reserve(1)
    assert after.reading.remaining == 10 - 5 - 1


async def test_nothing_is_taken_of_any_limit_if_one_is_reached(store: SharedStore) -> None:
    wide, tight = Scripted(store, SharedKind.WINDOW, limit=10), Scripted(store, SharedKind.BUCKET, limit=1)
    await wide.set_time(BEGIN_US)

    async def both() -> list[int]:
        of_each: list[list[bytes | int]] = [
            [each.kind.value.encode(), 1, each.limit, SPAN, 1] for each in (wide, tight)
        ]
        answer: list[int] = await store.run(RESERVE_AT, [wide.key, tight.key], [b"l", *of_each[0], *of_each[1]])
        return answer

    assert [(await both())[0] for _ in range(3)] == [1, 0, 0]
    assert (await wide.reserve(1))[1].reading.remaining == 8


async def test_places_are_held_until_they_are_given_back_or_nobody_renews_them(store: SharedStore) -> None:
    places = Scripted(store, SharedKind.PLACES, limit=2, span=0)
    await places.set_time(BEGIN_US)
    assert (await places.reserve(1, b"a"))[0]
    assert (await places.reserve(1, b"b"))[0]
    assert (await places.reserve(1, b"c")) == (False, Verdict.of(1_000_000, 0, 0, 0))
    await places.settle(1, 0, lease=b"a")
    await places.settle(1, 0, lease=b"a")  # once more does no harm
    assert (await places.reserve(1, b"c"))[0]
    await places.set_time(BEGIN_US + 50 * 10**6)
    await store.run(RENEW_AT, [places.key], [b"c:1", 0])
    await places.set_time(BEGIN_US + 70 * 10**6)  # the node of `b` has died
    assert (await places.reserve(1, b"d"))[0]
    assert not (await places.reserve(1, b"e"))[0]


async def test_a_purse_spends_what_was_used_and_holds_the_rest_only_while_it_runs(store: SharedStore) -> None:
    purse = Scripted(store, SharedKind.PURSE, limit=100, span=3_600_000)
    await purse.set_time(BEGIN_US)
    assert (await purse.reserve(60, b"a"))[0]
    taken, verdict = await purse.reserve(60, b"b")
    assert not taken
    assert verdict.wait_s == 3600
    await purse.settle(60, 90, lease=b"a")
    taken, verdict = await purse.reserve(10, b"c")
    assert (taken, verdict.reading.remaining) == (True, 0)
    await purse.set_time(BEGIN_US + 61 * 10**6)
    assert (await purse.reserve(10, b"d"))[0]
    assert (await purse.reserve(101, b"e"))[1].wait_s == NEVER
    taken, verdict = await purse.reserve(50, b"f", enforced=False)
    assert taken
    assert verdict.wait_s > 0


@pytest.mark.parametrize("kind", [SharedKind.WINDOW, SharedKind.BUCKET])
async def test_a_clock_that_is_put_back_keeps_nobody_waiting(store: SharedStore, kind: SharedKind) -> None:
    scripted = Scripted(store, kind, limit=10)
    await scripted.set_time(BEGIN_US)
    assert (await scripted.reserve(10))[0]
    back = BEGIN_US - 3600 * 10**6
    await scripted.set_clock(back)
    taken, verdict = await scripted.reserve(1)
    assert not taken, "nor does it give anything back"
    assert 0 < verdict.wait_s <= WINDOW_S * 1.01
    for passed_s, is_free in ((WINDOW_S / 2, False), (WINDOW_S + 1, True)):
        await scripted.set_clock(back + int(passed_s * 10**6))
        assert (await scripted.reserve(10))[0] == is_free


async def test_keys_are_forgotten(store: SharedStore, redis_server: RedisServer) -> None:
    for kind in SharedKind:
        scripted = Scripted(store, kind, limit=10)
        await scripted.set_time(BEGIN_US)
        await scripted.reserve(1)
        await scripted.settle(1, 2)
    keys = await store.run(Script.of("return redis.call('KEYS', '*')"), [], [])
    lasting = [key for key in keys if (await store.run(Script.of("return redis.call('PTTL', KEYS[1])"), [key], [])) < 0]
    assert lasting == [b"clock"]
