"""Places and purses in the shared store, driven against a model: also where the store evicts one of their two keys."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.filters.limits.shared import SharedKind
from gateway.shared_store import Script, SharedStore
from tests.gateway.filters.limits.test_shared_scripts import BEGIN_US, RENEW_AT, Scripted
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.component("redis")

LIMIT = 5
LEASE_US = 60 * 10**6
DELETE = Script.of("return redis.call('DEL', KEYS[1])")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 7), st.integers(1, 3)),
        st.tuples(st.just("end"), st.integers(0, 7), st.integers(0, 3)),
        st.tuples(st.just("renew"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 40), st.just(0)),
    ),
    max_size=30,
)
EVICTIONS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([b"", b":leases"])), min_size=1, max_size=3)


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[SharedStore]:
    store = SharedStore(redis_server.url, timeout_s=10)
    yield store
    await store.close()


class Model:
    """What is held: amounts by lease, and when each ends."""

    def __init__(self) -> None:
        self.now = BEGIN_US
        self.held: dict[int, tuple[int, int]] = {}
        self.spent = 0

    def in_use(self) -> int:
        self.held = {lease: each for lease, each in self.held.items() if each[1] > self.now}
        return self.spent + sum(amount for amount, _ in self.held.values())


@pytest.mark.parametrize("kind", [SharedKind.PLACES, SharedKind.PURSE])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(steps=STEPS)
async def test_what_is_left_is_what_the_model_says(
    store: SharedStore, kind: SharedKind, steps: list[tuple[str, int, int]]
) -> None:
    model, shared = Model(), Scripted(store, kind, limit=LIMIT, span=0 if kind is SharedKind.PLACES else 10**7)
    await run(model, shared, kind, steps)


@pytest.mark.parametrize("kind", [SharedKind.PLACES, SharedKind.PURSE])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(steps=STEPS, evictions=EVICTIONS)
async def test_store_that_evicts_a_key_takes_no_place_away_for_good_and_adds_none(
    store: SharedStore, kind: SharedKind, steps: list[tuple[str, int, int]], evictions: list[tuple[int, bytes]]
) -> None:
    """Field failure: a full store drops what it likes, and a limit is used up for ever."""
    model, shared = Model(), Scripted(store, kind, limit=LIMIT, span=0 if kind is SharedKind.PLACES else 10**7)
    for number, step in enumerate(steps):
        for at, suffix in evictions:
            if at == number:
                await store.run(DELETE, [shared.key + suffix], [])
        await run(model, shared, kind, [step], is_exact=False)
        _, verdict = await probe(shared)
        assert 0 <= verdict <= LIMIT
    for lease, (amount, _) in model.held.items():
        await shared.settle(amount, 0, lease=b"%d" % lease)
    await shared.set_time(model.now + 2 * LEASE_US)
    is_taken, left = await probe(shared)
    if kind is SharedKind.PLACES:
        assert (is_taken, left) == (True, LIMIT - 1)
    assert left <= LIMIT


async def probe(shared: Scripted) -> tuple[bool, int]:
    """Takes one, tells what is left, and gives it back."""
    is_taken, verdict = await shared.reserve(1, b"probe")
    if is_taken:
        await shared.settle(1, 0, lease=b"probe")
    return is_taken, verdict.reading.remaining


async def run(
    model: Model, shared: Scripted, kind: SharedKind, steps: list[tuple[str, int, int]], *, is_exact: bool = True
) -> None:
    await shared.set_time(model.now)
    for action, number, amount in steps:
        match action:
            case "take" if number not in model.held:
                fits = model.in_use() + amount <= LIMIT
                is_taken, verdict = await shared.reserve(amount, b"%d" % number)
                assert not is_exact or is_taken == fits
                if is_taken:
                    model.held[number] = amount, model.now + LEASE_US
                assert not is_exact or verdict.reading.remaining == max(0, LIMIT - model.in_use())
            case "end" if number in model.held:
                taken, _ = model.held.pop(number)
                used = min(amount, taken) if kind is SharedKind.PURSE else 0
                await shared.settle(taken, used, lease=b"%d" % number)
                model.spent += used
            case "renew" if number in model.held and model.held[number][1] > model.now:
                taken, _ = model.held[number]
                await shared.store.run(RENEW_AT, [shared.key], [b"%d:%d" % (number, taken), shared.span])
                model.held[number] = taken, model.now + LEASE_US
            case "wait":
                model.now += number * 10**6
                await shared.set_time(model.now)
